# The second boot's system: the unit calls hadump-boot once more, and the machine goes on working in all of its memory.
step second-call hadump-boot
step status hadump status
step status-json hadump status --json
state given-back
step save hadump save --to /var/late/
step fill memory fill "$FILL_SECONDS"
step registered cat /sys/kernel/fadump/registered
step announced hadump status
# As announced, this crash leaves no dump: without a registration firmware stops the machine.
again
crash
