"""A page to hear and see what a network says of a sound; `multiview app` serves it."""
