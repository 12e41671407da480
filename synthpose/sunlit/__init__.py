"""Pictures in the style "sunlit", which no training picture has: see ``synthpose.style``.

Low sun through a row of windows, coloured light from the other side, printed cloth, tiled and boarded floors,
papered and bricked walls, and a camera that sharpens, grains and darkens its corners. Nothing of how it looks
is shared with the default style: not the patterns, nor the noise they come from, nor the sums of light, nor
what the sensor does; only the rasteriser, the lens and the shadow map, which are geometry.
"""
