/*
 * This file is part of libmagvit.
 *
 * libmagvit is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * libmagvit is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with libmagvit; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */


/**
 * @file
 * Frames in the memory of a device: the filters work on copies of them in host
 * memory, and give out frames of the same kind on the same device. Everything
 * here does nothing where the link has frames in host memory.
 */

#ifndef AVFILTER_MAGVIT_HWFRAME_H
#define AVFILTER_MAGVIT_HWFRAME_H

#include "magvit_filter.h"

/** Those formats whose frames av_hwframe_transfer_data() moves both ways: the end of ff_magvit_pix_fmts. */
#define MAGVIT_HW_PIX_FMTS \
    AV_PIX_FMT_VULKAN, AV_PIX_FMT_CUDA, AV_PIX_FMT_VAAPI, AV_PIX_FMT_QSV, AV_PIX_FMT_VDPAU, \
    AV_PIX_FMT_D3D11, AV_PIX_FMT_DXVA2_VLD, AV_PIX_FMT_VIDEOTOOLBOX, AV_PIX_FMT_OPENCL

/**
 * Find what the frames of the output's format hold, from the first input: FFMagvitFilter.samples and format, and where
 * they are: frames_device. Logs what is not supported.
 */
int ff_magvit_hw_input(AVFilterLink *outlink);
/** Make the pool of the output's frames, whose size is set. Logs what fails. */
int ff_magvit_hw_output(AVFilterLink *outlink);

/** A frame in host memory of the output's size, FFMagvitFilter.format. */
AVFrame *ff_magvit_hw_get_buffer(AVFilterLink *outlink);
/** Replace a frame of the input by its copy in host memory, FFMagvitFilter.format. *frame stays if that fails, which is logged. */
int ff_magvit_hw_download(AVFilterContext *ctx, AVFrame **frame);
/** Replace a frame in host memory by its copy for the output. *frame stays one in host memory if that fails, which is logged. */
int ff_magvit_hw_upload(AVFilterContext *ctx, AVFrame **frame);

#endif /* AVFILTER_MAGVIT_HWFRAME_H */
