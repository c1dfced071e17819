"""Setting up a validator that one can leave alone: two accounts, services, and nothing secret in any of them.

- The *runner* runs strangers' code and holds no key. The *signer* holds the key and runs nothing of theirs.
  Neither can read the other's folder; all that passes between them is one Unix socket.
- What will be done is a plan: steps that say what they make, whether it is there already, and why. It is
  shown first, and carried out again it finds nothing to do.
- No secret stands in a unit, on a command line or in an environment. The passphrase and the endpoints'
  addresses (which often hold a key) are files that only root or the signer reads.
- Taking it away again never touches keys, guard, findings or reports.

::

    layout = linux_layout(choice)
    steps = linux_plan(layout)
    planned = look(steps, system)
    carry_out(steps, system, say)
"""
