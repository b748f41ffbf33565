"""The ONNX graph of an export: tf2onnx's, made smaller and faster.

simplify: all passes in their order. arithmetic, operators, layout: the passes, by what they are about. edit, pattern:
what passes look things up with. resizing: from an image of any size to the first layer. names: of nodes, after Keras'
layers. activation_map: the optional third output.
"""
