#!/bin/sh
# A boot is worth more than a dump: whatever hadump-boot ends with, it goes on.
if getargbool 1 rd.hadump; then
    hadump-boot "$NEWROOT" || warn "hadump: no whole dump was saved"
fi
