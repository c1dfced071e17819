"""Programs that run *inside* a sandbox. They import nothing of this project but each other.

They are shown inside as plain files beside one another, so their imports of ``harness_wire`` are absolute and
short. Nothing they say is believed: the trusted side checks every byte that comes back.
"""
