"""int8 and float16 files beside the float32 one."""
