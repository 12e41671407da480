"""Models in a process of their own, perhaps with another Python or in another language.

The protocol, version 1
-----------------------
A worker is any program that reads requests on its standard input and writes answers on its standard output,
one answer a request, in order. What it prints elsewhere (standard error) is shown when it fails. A message is

    4 bytes     length of the header, unsigned, little-endian
    header      JSON (UTF-8), one object, at most 1 MB
    arrays      the raw numbers of each array that the header lists, one after the other, without gaps

A header's "arrays" is a list of {"name", "dtype", "shape"}; dtype is "uint8", "float32" or "float64",
little-endian, the last axis fastest. A message without arrays may leave the list out.

Requests, and what answers them:

    {"do": "hello", "protocol": 1, "points": ["nose", ...], "dimensions": 2, "device": "cpu", "model": {...}}
        sent once, first. "points" are the K points that are expected, in order; "model" is what the worker's
        own kind needs to know ({} for a command).
        -> {"said": "hello", "protocol": 1, "name": "my model", "points": 17}; "points" is K, or null where
           the worker takes what it is told.

    {"do": "predict", "call": 7, "arrays": [boxes, frame, frame, ...]}
        "boxes" is float64 (n, 4): x0 y0 x1 y1 in pixels, (0, 0) the centre of the top-left pixel. Then come
        n arrays named "frame", uint8 (height, width, 3), RGB, of any sizes; there may be none (n = 0).
        -> {"said": "predicted", "call": 7, "arrays": [points, confidence]}; "points" is (n, K, 2) pixels of
           the whole frame, or (n, K, 3) metres where "dimensions" is 3, NaN where there is none; "confidence"
           is (n, K), 0 or more. A third array "covariance" (n, K, 2, 2) pixels² may follow.

    {"do": "bye"}
        -> nothing: the worker ends. It should do so at the end of its input too.

Instead of any answer a worker may send {"said": "error", "what": "ValueError: no such layer"}; it should then
be ready for the next request. "cause" may say what kind of error it was: "model" (the default), "memory",
"shape", or "environment" (something is missing on this machine; "fix" then says what to do).

What a worker is given, and what not
------------------------------------
Its own session; an empty HOME, removed afterwards; one thread for numerical libraries; no variables of the
environment but a few (PATH, locale, CUDA). Time and memory are bounded (``limits`` of the model's card). It
can't outlive capbench. It is not a jail: its files and its network are those of the user.
"""
