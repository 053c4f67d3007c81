/* Settings by name: flags > environment > .env in the script's folder > .env in the working folder.
 *
 * Reads each file once, registers secrets, remembers where it looked, so that every "missing"
 * message can say so. With `emulated` set, names of the services (SCALEKIT_*, OPENAI_*, LITELLM_*,
 * LANGSMITH_*, LANGCHAIN_*) are answered from flags and the emulator only: real keys are not read
 * (their texts are still masked).
 *
 * The highest source that has a name decides, also when its value is blank: `NAME= agenthost ...`
 * unsets what a .env file says. Secrets are kept in step: ah_secret_get answers the value in force. */
#ifndef AH_CONFIG_H
#define AH_CONFIG_H

#include "err.h"

struct ah_config; /* opaque */
struct ah_secrets;
struct ah_log;

enum ah_config_source {
    AH_FROM_NOWHERE,
    AH_FROM_FLAG,
    AH_FROM_ENVIRONMENT,
    AH_FROM_DOTENV,
    AH_FROM_EMULATOR
};

/* Registers the secrets of the environment. NULL: out of memory. `secrets` and `log` may be NULL. */
struct ah_config *ah_config_new(struct ah_secrets *secrets, struct ah_log *log);
/* The same without the process's environment, which is not read then: only what ah_config_set gives. */
struct ah_config *ah_config_new_alone(struct ah_secrets *secrets, struct ah_log *log);
/* What the environment itself says, unchanged; NULL also when it is not read. */
const char *ah_config_environment(const struct ah_config *c, const char *name);
void ah_config_free(struct ah_config *c);

/* A .env file. Missing: 0 when `optional`. -1: AH_CONFIG with path and line. A file that others can
 * read is warned about. Later files never override earlier ones. */
int ah_config_load(struct ah_config *c, const char *path, bool optional, struct ah_error *err);
/* A value from a flag, from the emulator, or in front of the environment (source says which). Copies; the same
 * again replaces. -1: another source, or no memory. Values of the emulator count only while emulated. */
int ah_config_set(struct ah_config *c, const char *name, const char *value, enum ah_config_source source);
void ah_config_set_emulated(struct ah_config *c, bool emulated);
bool ah_config_emulated(const struct ah_config *c);

/* The value, or NULL when unset or blank. Trimmed of white space and of one pair of quotes around
 * it. Valid until the config is freed. (Without memory to copy it: NULL.) */
const char *ah_config_get(struct ah_config *c, const char *name);
/* Whether its value is not for scripts: a secret's name, or a proxy with a name and password in it. */
bool ah_config_is_secret(struct ah_config *c, const char *name);
/* The first of several names (NULL ends the list) that is set; *which (may be NULL) gets its name. */
const char *ah_config_first(struct ah_config *c, const char **which, ...) __attribute__((sentinel));
enum ah_config_source ah_config_source_of(struct ah_config *c, const char *name);
/* Whether `path` (resolved: no links, absolute) is a settings file that was read here. */
bool ah_config_is_file(const struct ah_config *c, const char *path);
/* Path of the .env file a value came from, or NULL. */
const char *ah_config_file_of(struct ah_config *c, const char *name);
/* Everything that gives a name a value, strongest first; at most one is in force (none, when real keys are not read
 * while emulating). How many. Texts as of ah_config_get. */
struct ah_config_given {
    enum ah_config_source source;
    const char *file; /* of AH_FROM_DOTENV, with its line */
    int line;
    const char *value; /* "" is blank: as good as unset */
    bool in_force;
};
#define AH_CONFIG_GIVEN_COUNT 8
size_t ah_config_givens(struct ah_config *c, const char *name, struct ah_config_given *out, size_t max);
/* Fills err (AH_CONFIG): names what is missing, where it was looked for (environment, each .env path
 * tried), and `--emulate`. `names` reads like "OPENAI_API_KEY" or "A and B". Returns -1. */
int ah_config_missing(struct ah_config *c, const char *names, struct ah_error *err);
/* Names, of all sources, that begin with a prefix; for misspelling checks. Calls fn(name, value). */
void ah_config_each(struct ah_config *c, const char *prefix,
                    void (*fn)(void *arg, const char *name, const char *value), void *arg);

#endif
