# The second boot's system: the unit calls hadump-boot once more, and the machine goes on working in what memory it has.
step second-call hadump-boot
step status hadump status
step status-json hadump status --json
state saved
# The memory was kept, so the dump is still whole.
step level0 hadump save --to /var/level0/ -d 0
step fill memory fill "$FILL_SECONDS"
step registered cat /sys/kernel/fadump/registered
step register write 1 /sys/kernel/fadump/registered
step announced hadump status
# As announced, this crash leaves no dump: without a registration firmware stops the machine.
again
crash
