"""Looking at this machine and saying what does not work, each with a next step.

::

    from armlx_chain.cli.doctoring.findings import run_checks
    findings = run_checks([*machine_checks(...), *network_checks(app)])
"""
