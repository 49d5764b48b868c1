"""From a trained model to what is known about it: predictions, metrics, t-SNE, Grad-CAM."""
