"""Export: streaming int8 TFLite, Vela, C."""
