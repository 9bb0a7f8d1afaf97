"""What every test takes for granted of the process that it runs in."""

from __future__ import annotations

from deploy.demo.process_group import hear_interrupts

# Else no server that a test starts from a background job could be interrupted.
hear_interrupts()
