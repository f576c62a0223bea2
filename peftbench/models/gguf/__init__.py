"""GGUF files: one file holds config, tokenizer and quantised weights; they are dequantised on loading."""
