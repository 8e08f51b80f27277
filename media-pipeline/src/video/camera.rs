//! Cameras through `nokhwa`.

use nokhwa::{
    Camera as Device,
    utils::{ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution},
};
use serde::Serialize;
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{Frame, VideoSource};
use crate::{MediaError, limits::MAX_DIMENSION};

/// One camera, as shown in lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CameraDevice {
    /// Its name, for `--video-in`.
    pub name: String,
    /// Its number.
    pub number: u32,
}

/// All cameras.
pub fn cameras() -> Vec<CameraDevice> {
    let found = nokhwa::query(ApiBackend::Auto).unwrap_or_default();
    let camera = |info: nokhwa::utils::CameraInfo| match info.index() {
        CameraIndex::Index(number) => Some(CameraDevice { name: info.human_name(), number: *number }),
        CameraIndex::String(_) => None,
    };
    found.into_iter().filter_map(camera).collect()
}

/// A camera.
pub struct Camera(Device);

impl std::fmt::Debug for Camera {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Camera").finish_non_exhaustive()
    }
}

// Opened and used on the thread that captures only.
fn no_camera(error: impl std::fmt::Display) -> MediaError {
    let error = error.to_string();
    let remedy = if error.contains("busy") || error.contains("EBUSY") {
        "another program is using it; close that one"
    } else if error.contains("denied") {
        "this user may not use it; on Linux the group `video` is needed"
    } else {
        "see starling call devices"
    };
    MediaError::NoDevice(format!("the camera cannot be used: {error}; {remedy}"))
}

impl Camera {
    /// Opens a camera by name or number; `default` is the first.
    pub fn open(name: &str) -> Result<Self, MediaError> {
        let cameras = cameras();
        let fits = |c: &&CameraDevice| name == "default" || c.name == name || name.parse() == Ok(c.number);
        let Some(found) = cameras.iter().find(fits) else {
            let why = if cameras.is_empty() {
                "there is no camera; plug one in, or say --video-in none".to_owned()
            } else {
                format!("there is no camera called “{name}”; see starling call devices")
            };
            return Err(MediaError::NoDevice(why));
        };
        let wanted = CameraFormat::new(Resolution::new(1280, 720), FrameFormat::MJPEG, 30);
        let formats = [FrameFormat::YUYV, FrameFormat::NV12, FrameFormat::MJPEG];
        let format = RequestedFormat::with_formats(RequestedFormatType::Closest(wanted), &formats);
        let mut device = Device::new(CameraIndex::Index(found.number), format).map_err(no_camera)?;
        device.open_stream().map_err(no_camera)?;
        Ok(Self(device))
    }
}

impl VideoSource for Camera {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        let (size, format) = (self.0.resolution(), self.0.frame_format());
        let (width, height) = (size.width() as usize, size.height() as usize);
        let raw = self.0.frame_raw().map_err(no_camera)?;
        match format {
            FrameFormat::YUYV => from_yuyv(&raw, width, height, frame),
            FrameFormat::NV12 => from_nv12(&raw, width, height, frame),
            FrameFormat::MJPEG => from_jpeg(&raw, frame)?,
            other => return Err(no_camera(format!("it gives {other}, which is not understood"))),
        }
        Ok(true)
    }
}

fn from_yuyv(raw: &[u8], width: usize, height: usize, frame: &mut Frame) {
    frame.resize(width, height);
    let (width, height) = (frame.width, frame.height);
    let (y, u, v) = frame.planes_mut();
    for (row, line) in raw.chunks_exact(width * 2).take(height).enumerate() {
        for (pair, quad) in line.chunks_exact(4).enumerate() {
            y[row * width + pair * 2] = quad[0];
            y[row * width + pair * 2 + 1] = quad[2];
            // The chroma of every second line is enough.
            if row % 2 == 0 {
                u[row / 2 * (width / 2) + pair] = quad[1];
                v[row / 2 * (width / 2) + pair] = quad[3];
            }
        }
    }
}

fn from_nv12(raw: &[u8], width: usize, height: usize, frame: &mut Frame) {
    frame.resize(width, height);
    let luma = frame.width * frame.height;
    let (y, u, v) = frame.planes_mut();
    let Some((bright, colour)) = raw.split_at_checked(luma) else { return };
    y.copy_from_slice(bright);
    for (i, pair) in colour.chunks_exact(2).take(u.len()).enumerate() {
        (u[i], v[i]) = (pair[0], pair[1]);
    }
}

fn from_jpeg(raw: &[u8], frame: &mut Frame) -> Result<(), MediaError> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::YCbCr)
        .set_max_width(MAX_DIMENSION)
        .set_max_height(MAX_DIMENSION);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(raw), options);
    let bad = |e: &dyn std::fmt::Debug| MediaError::Codec(format!("a picture of the camera is broken: {e:?}"));
    let pixels = decoder.decode().map_err(|e| bad(&e))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| bad(&"no size"))?;
    frame.resize(width, height);
    let (even_width, even_height) = (frame.width, frame.height);
    let (y, u, v) = frame.planes_mut();
    for row in 0..even_height {
        for column in 0..even_width {
            let Some([bright, blue, red]) = pixels.get((row * width + column) * 3..).and_then(|p| p.first_chunk())
            else {
                return Err(bad(&"too short"));
            };
            // JPEG uses the full range, video the limited one.
            y[row * even_width + column] = (16 + u32::from(*bright) * 219 / 255) as u8;
            if row % 2 == 0 && column % 2 == 0 {
                let at = row / 2 * (even_width / 2) + column / 2;
                let limited = |c: u8| (16 + u32::from(c) * 224 / 255) as u8;
                (u[at], v[at]) = (limited(*blue), limited(*red));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_cameras_give_becomes_our_frames() {
        let mut frame = Frame::default();
        from_yuyv(&[10, 20, 30, 40].repeat(4), 4, 2, &mut frame);
        assert_eq!((frame.data[0], frame.data[1], frame.data[8], frame.data[10]), (10, 30, 20, 40));
        from_nv12(&[&[50; 8][..], &[1, 2, 3, 4]].concat(), 4, 2, &mut frame);
        assert_eq!(frame.data[8..], [1, 3, 2, 4]);
    }

    #[test]
    fn no_camera_is_told_with_a_remedy() {
        if cameras().is_empty() {
            assert!(Camera::open("default").unwrap_err().to_string().contains("--video-in none"));
        }
    }
}
