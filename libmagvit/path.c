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
 * Where model files lie: an option, the environment, the installed data
 * directory, the source tree.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"

#include "libmagvit/model.h"

#define MAX_PATH 4096

/** Where a model was looked for. */
typedef struct Search {
    char found[MAX_PATH]; ///< "" if there is none
    char tried[4 * MAX_PATH];
} Search;

static void try_file(Search *s, const char *folder, const char *file)
{
    char path[MAX_PATH];
    size_t used = strlen(s->tried);
    struct stat st;

    if (*s->found)
        return;
    snprintf(path, sizeof(path), "%s%s%s", folder, *file ? "/" : "", file);
    if (!stat(path, &st) && !S_ISDIR(st.st_mode))
        memcpy(s->found, path, sizeof(path));
    else
        snprintf(s->tried + used, sizeof(s->tried) - used, "%s%s", used ? ", " : "", path);
}

/** A file, or the default model in a folder. */
static void try_path(Search *s, const char *path)
{
    struct stat st;

    if (!path || !*path)
        return;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
        try_file(s, path, "magvit-small.safetensors");
    } else {
        try_file(s, path, "");
    }
}

int mgv_find_model(char **path, const char *model, const MagvitLogger *log)
{
    Search *s = mgv_calloc(1, sizeof(*s));
    int ret = 0;

    if (!s)
        return MAGVIT_ERR(ENOMEM);
    if (model) {
        try_path(s, model);
    } else {
        try_path(s, getenv("MAGVIT_MODEL_PATH"));
        try_path(s, MAGVIT_DATADIR);
        try_path(s, MAGVIT_SOURCE_PATH "/models");
    }
    if (!*s->found) {
        mgv_err(log, "no model file: asked for '%s', tried %s", model ? model : "(default)", s->tried);
        ret = MAGVIT_ERR(ENOENT);
    } else if (!(*path = mgv_strdup(s->found))) {
        ret = MAGVIT_ERR(ENOMEM);
    }
    mgv_freep(&s);
    return ret;
}
