# The next crash, whose dump is to be whole.
step hadump-boot hadump-boot /sysroot
