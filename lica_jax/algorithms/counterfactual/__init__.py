"""COMA and LIIR: policy gradients with advantages of every agent."""
