"""Batches for training: order, augmentation, mixup."""
