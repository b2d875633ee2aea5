step second-call hadump-boot
step status hadump status
step status-json hadump status --json
state rescued
finish
