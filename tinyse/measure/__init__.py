"""Tools around the engines: frames to feed them, how fast they run, where the simulator and TFLM part."""
