"""From a trained model to a verified ONNX file."""
