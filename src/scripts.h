/* Where Lua files and prompts come from: the script's folder, --scripts DIR, $AGENTHOST_SCRIPTS, the
 * installed folder, and the copies embedded in the program. Layer 2: reads files, knows no Lua. */
#ifndef AH_SCRIPTS_H
#define AH_SCRIPTS_H

#include "err.h"
#include "hash.h"

#define AH_SCRIPTS_STAMP_BYTES 128

struct ah_scripts; /* opaque, one per host */

/* Folders may be NULL. They are copied. */
struct ah_scripts *ah_scripts_new(const char *option_dir, const char *environment_dir,
                                  const char *installed_dir);
void ah_scripts_free(struct ah_scripts *s);

struct ah_script_file {
    char *path;         /* as found: a path, or "embedded:agent/loop.lua" */
    const char *source; /* "folder", "dir", "environment", "installed", "embedded" */
    char *text;         /* NUL-terminated */
    size_t n;
    char sha256[AH_HASH_HEX_BYTES];
};

/* The first file of that relative path, in the order above; `folder` (may be NULL) is the script's own.
 * An absolute path is taken as it is. -1: AH_CONFIG names every place that was tried; AH_IO when a file
 * is there but cannot be read. */
int ah_scripts_read(struct ah_scripts *s, const char *folder, const char *path, struct ah_script_file *out,
                    struct ah_error *err);
/* Writes a text that differs when ah_scripts_read would find another file or another content, found out without reading.
 * -1: none can be said (no such file, or one written so lately that its times cannot tell the next edit): read it. */
int ah_scripts_stamp(struct ah_scripts *s, const char *folder, const char *path,
                     char out[AH_SCRIPTS_STAMP_BYTES]);
/* "a/b/c.lua" -> folder "a/b", name "c"; without a folder ".". Cut to the room there is. */
void ah_scripts_split(const char *path, char *folder, size_t folder_size, char *name, size_t name_size);
bool ah_scripts_exists(struct ah_scripts *s, const char *folder, const char *path);
void ah_script_file_drop(struct ah_script_file *f);
/* The names in the first folder of that relative path, in the same order of places (nothing embedded), sorted by
 * bytes, without hidden ones. `told` may stop it with a value that is not 0, which is returned. -1: AH_CONFIG, no such
 * folder; AH_IO. */
int ah_scripts_list(struct ah_scripts *s, const char *folder, const char *path,
                    int (*told)(void *arg, const char *name), void *arg, struct ah_error *err);

/* Writes a new file, with the folders above it. A file that is there is never written over: -1, AH_CONFIG. */
int ah_scripts_write(const char *path, const char *p, size_t n, struct ah_error *err);
/* Writes the embedded files below dir (made if missing). A file that is there and differs is left alone
 * and reported by `told(path, kept)`. */
int ah_scripts_copy(const char *dir, void (*told)(void *arg, const char *path, bool kept), void *arg,
                    struct ah_error *err);

/* The table that CMake generates from scripts/. */
struct ah_embedded {
    const char *path;
    const char *begin, *end;
};
extern const struct ah_embedded ah_embedded_files[]; /* ends with a NULL path */

#endif
