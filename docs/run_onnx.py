"""python run_onnx.py model.onnx clip.mp4: needs onnxruntime, av, pillow and numpy."""

import json
import sys

import av
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
about = json.loads(session.get_modelmeta().custom_metadata_map["peclip_fast"])
length, size = about["frames"], about["image_size"]
with av.open(sys.argv[2]) as video:
    frames = [frame.to_image() for frame in video.decode(video=0)]
tick = len(frames) / length
taken = [int(tick / 2 + tick * k) for k in range(length)]  # the middle frame of each segment
if len(frames) <= length:
    taken = [min(k, len(frames) - 1) for k in range(length)]
side = min(frames[0].size)
left, top = ((full - side) // 2 for full in frames[0].size)
square = (left, top, left + side, top + side)
images = [frames[i].crop(square).resize((size, size), Image.Resampling.BILINEAR) for i in taken]
clip = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)[None]
(probabilities,) = session.run(None, {"frames": np.ascontiguousarray(clip)})[0]
print({name: round(float(p), 4) for name, p in zip(about["classes"], probabilities, strict=True)})
