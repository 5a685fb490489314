"""What one peer of Algorithm 1 has and does, from collecting a rollout to its report."""
