"""A drawn pedestrian: who somebody is, the body in a pose, and how it is put on a canvas.

`appearance.appearance` makes somebody up, `figure.draw_figure` draws them on a `canvas.Canvas` in a `body.Pose`.
Lengths are in body heights: u to the right of the picture, v up, the ground at 0 and the crown at 1. The body is
built in three dimensions (x to the person's left, y up, z ahead) and turned by the yaw of the view: 0 looks into the
camera, a quarter to the right of the picture, a half away. So one identity shows its print in front and its backpack
from behind.
"""
