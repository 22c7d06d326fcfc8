"""What an export costs: cycles, traffic, memory and size, each with what produced the number.

Stages, one file each: `locate` finds the files, `vela` reads Vela's reports, `layers` says what bounds
each layer, `sizes` counts weights, `arena` asks TFLM on the host, `simulated` joins the NPU simulator's
account; `pipeline` owns their order, `compare` and `roofline` present the result.
"""
