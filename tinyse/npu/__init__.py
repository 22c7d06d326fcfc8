"""Ethos-U55 command streams, taken apart and executed on the host.

``Machine`` runs a compiled network, ``account`` counts its bytes and MACs, ``listing`` prints it:

    from tinyse.npu import Machine, account
    machine = Machine.load("model_vela.tflite")
    out = machine.run(frame)                 # integers in, integers out; states persist
    costs = account("model_vela.tflite")     # list[OpAccount], simulated

Module by module: flatbuffer and payload (the file), registers and operations (the stream), codec and
weights (weight streams), tensors (memory), kernels, elementwise and output (arithmetic), machine.
"""

from __future__ import annotations

from tinyse.npu.account import OpAccount, account
from tinyse.npu.disassemble import listing
from tinyse.npu.fault import NpuError
from tinyse.npu.machine import Machine

__all__ = ["Machine", "NpuError", "OpAccount", "account", "listing"]
