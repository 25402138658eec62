"""Networks that change a model's weights for the length of a job: LoRA and its relatives."""
