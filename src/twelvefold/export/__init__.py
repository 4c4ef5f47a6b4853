"""Write a model for other programs: a folder for a model hub, or an ONNX file."""
