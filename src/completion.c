/* What a shell offers after each word. Called by cmd_completion.c. The three scripts have one shape: walk over the words
 * before the cursor to learn which command they name and whether a value is awaited, then offer what the tables say.
 * Names of runs, sessions, connections and settings are asked from the program itself: `agenthost completion --words KIND`.
 * Must never run anything itself. */
#include "completion.h"

#include <stdio.h>
#include <string.h>

struct writer {
    struct ah_buf *out;
    const struct ah_command *root;
    void (*each)(struct writer *w, const struct ah_command *c, const char *path);
};

static const char *kind_name(enum ah_complete kind)
{
    static const char *const names[] = {[AH_COMPLETE_NONE] = "none",
                                        [AH_COMPLETE_FILE] = "file",
                                        [AH_COMPLETE_SCRIPT] = "script",
                                        [AH_COMPLETE_DIR] = "dir",
                                        [AH_COMPLETE_CONNECTION] = "connection",
                                        [AH_COMPLETE_RUN] = "run",
                                        [AH_COMPLETE_SESSION] = "session",
                                        [AH_COMPLETE_SETTING] = "setting",
                                        [AH_COMPLETE_COMMAND] = "command",
                                        [AH_COMPLETE_CHOICE] = "choice"};
    return names[kind];
}

/* Every command with its path ("", "trace", "trace ls"), the program first. */
static void walk(struct writer *w, const struct ah_command *c, const char *path)
{
    char below[100];
    w->each(w, c, path);
    for (const struct ah_command *const *s = c->subs; s && *s; s++) {
        snprintf(below, sizeof below, "%s%s%s", path, path[0] ? " " : "", (*s)->name);
        walk(w, *s, below);
    }
}

static bool awaits_value(const struct ah_option *o)
{
    return o->kind != AH_OPTION_FLAG && !o->bare;
}

/* In single quotes. */
static void put_quoted(struct ah_buf *out, const char *text)
{
    ah_buf_addc(out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            ah_buf_adds(out, "'\\''");
        else
            ah_buf_addc(out, *text);
    }
    ah_buf_addc(out, '\'');
}

/* --- bash and zsh: one case a command ----------------------------------------------------------- */

/* 'trace ls: --limit') kind=none ;; */
static void put_value_cases(struct writer *w, const struct ah_command *c, const char *path)
{
    for (const struct ah_option *o = c->options; o && o->name; o++) {
        if (!awaits_value(o))
            continue;
        if (path[0])
            ah_buf_addf(w->out, "    '%s:%s') kind=%s ;;\n", path, o->name, kind_name(o->complete));
        else
            ah_buf_addf(w->out, "    *:%s) kind=%s ;;\n", o->name, kind_name(o->complete));
    }
}

static void put_step_cases(struct writer *w, const struct ah_command *c, const char *path)
{
    (void)c;
    const char *last = strrchr(path, ' ');
    if (path[0])
        ah_buf_addf(w->out, "    '%.*s:%s') at='%s' ;;\n", last ? (int)(last - path) : 0, path,
                    last ? last + 1 : path, path);
}

static void put_names(struct ah_buf *out, const struct ah_command *c)
{
    for (const struct ah_option *o = c->options; o && o->name; o++)
        ah_buf_addf(out, " %s", o->name);
}

static void put_bash_case(struct writer *w, const struct ah_command *c, const char *path)
{
    ah_buf_addf(w->out, "    '%s')\n      kind=%s choices='%s' subs='", path, kind_name(c->complete),
                c->choices ? c->choices : "");
    for (const struct ah_command *const *s = c->subs; s && *s; s++)
        ah_buf_addf(w->out, "%s%s", s == c->subs ? "" : " ", (*s)->name);
    ah_buf_adds(w->out, "'\n      options='--help");
    if (path[0])
        put_names(w->out, c);
    ah_buf_adds(w->out, "' ;;\n");
}

static const char bash_head[] = "# Completion of agenthost for bash, made by: agenthost completion bash\n\n"
                                "# What the value of an option is, in kind; fails when it takes none.\n"
                                "_agenthost_value() {\n"
                                "  case \"$1:$2\" in\n";
static const char bash_step[] = "    *) return 1 ;;\n"
                                "  esac\n"
                                "}\n\n"
                                "# The command that a word names, in at; fails when it names none.\n"
                                "_agenthost_step() {\n"
                                "  case \"$1:$2\" in\n";
static const char bash_data[] = "    *) return 1 ;;\n"
                                "  esac\n"
                                "}\n\n"
                                "# What may follow a command, in kind, choices, subs, options.\n"
                                "_agenthost_after() {\n"
                                "  case \"$1\" in\n";
static const char bash_tail[] =
    "_agenthost_offer() { # PROGRAM KIND WORD\n"
    "  case \"$2\" in\n"
    "    file | script | dir) compopt -o filenames 2>/dev/null ;;\n"
    "  esac\n"
    "  case \"$2\" in\n"
    "    file) mapfile -t COMPREPLY < <(compgen -f -- \"$3\") ;;\n"
    "    script) mapfile -t COMPREPLY < <(compgen -d -- \"$3\"; compgen -f -X '!*.lua' -- \"$3\") ;;\n"
    "    dir) mapfile -t COMPREPLY < <(compgen -d -- \"$3\") ;;\n"
    "    choice) mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"$3\") ;;\n"
    "    connection | run | session | setting)\n"
    "      mapfile -t COMPREPLY < <(compgen -W \"$(\"$1\" completion --words \"$2\" 2>/dev/null)\" -- "
    "\"$3\") ;;\n"
    "  esac\n"
    "}\n\n"
    "_agenthost() {\n"
    "  local cur=${COMP_WORDS[COMP_CWORD]} at= kind= value= choices= subs= options= common= word i\n"
    "  COMPREPLY=()\n"
    "  [ \"$cur\" = = ] && cur=\n"
    "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "    word=${COMP_WORDS[i]}\n"
    "    if [ \"$word\" = = ]; then continue # --option=value comes as three words\n"
    "    elif [ -n \"$value\" ]; then value=\n"
    "    elif [ \"$word\" = -- ]; then _agenthost_offer \"$1\" file \"$cur\"; return\n"
    "    elif [[ $word == -* ]]; then _agenthost_value \"$at\" \"$word\" && value=$kind\n"
    "    elif [ \"$at\" = help ]; then at=; _agenthost_step '' \"$word\"\n"
    "    else _agenthost_step \"$at\" \"$word\"\n"
    "    fi\n"
    "  done\n"
    "  _agenthost_after \"$at\"\n"
    "  if [ -n \"$value\" ]; then _agenthost_offer \"$1\" \"$value\" \"$cur\"; return; fi\n"
    "  if [[ $cur == -* ]]; then\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$options $common\" -- \"$cur\")\n"
    "    return\n"
    "  fi\n"
    "  [ \"$kind\" = command ] && { kind=none; _agenthost_after ''; kind=none; }\n"
    "  _agenthost_offer \"$1\" \"$kind\" \"$cur\"\n"
    "  mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"$subs\" -- \"$cur\")\n"
    "}\n\n"
    "complete -F _agenthost agenthost\n";

static void write_with(struct writer *w,
                       void (*each)(struct writer *, const struct ah_command *, const char *))
{
    w->each = each;
    walk(w, w->root, "");
}

static void write_bash(struct writer *w)
{
    ah_buf_adds(w->out, bash_head);
    write_with(w, put_value_cases);
    ah_buf_adds(w->out, bash_step);
    write_with(w, put_step_cases);
    ah_buf_adds(w->out, bash_data);
    write_with(w, put_bash_case);
    ah_buf_adds(w->out, "  esac\n  common='");
    put_names(w->out, w->root);
    ah_buf_adds(w->out, "'\n}\n\n");
    ah_buf_adds(w->out, bash_tail);
}

/* --- zsh ----------------------------------------------------------------------------------------- */

/* 'name:what it is' for _describe. */
static void put_described(struct ah_buf *out, const char *name, const char *text)
{
    ah_buf_addf(out, " '%s:", name);
    for (; *text; text++) {
        if (*text == '\'')
            ah_buf_adds(out, "'\\''");
        else if (*text == ':' || *text == '\\')
            ah_buf_addf(out, "\\%c", *text);
        else
            ah_buf_addc(out, *text);
    }
    ah_buf_addc(out, '\'');
}

static void put_zsh_options(struct ah_buf *out, const struct ah_option *o)
{
    for (; o && o->name; o++)
        put_described(out, o->name, o->help);
}

static void put_zsh_case(struct writer *w, const struct ah_command *c, const char *path)
{
    ah_buf_addf(w->out, "    '%s')\n      kind=%s choices=(%s) subs=(", path, kind_name(c->complete),
                c->choices ? c->choices : "");
    for (const struct ah_command *const *s = c->subs; s && *s; s++)
        put_described(w->out, (*s)->name, (*s)->summary);
    ah_buf_adds(w->out, ")\n      options=('--help:its words and options'");
    if (path[0])
        put_zsh_options(w->out, c->options);
    ah_buf_adds(w->out, ") ;;\n");
}

static const char zsh_head[] = "#compdef agenthost\n"
                               "# Completion of agenthost for zsh, made by: agenthost completion zsh\n\n"
                               "_agenthost_value() {\n"
                               "  case \"$1:$2\" in\n";
static const char zsh_step[] = "    *) return 1 ;;\n"
                               "  esac\n"
                               "}\n\n"
                               "_agenthost_step() {\n"
                               "  case \"$1:$2\" in\n";
static const char zsh_data[] = "    *) return 1 ;;\n"
                               "  esac\n"
                               "}\n\n"
                               "_agenthost_after() {\n"
                               "  case \"$1\" in\n";
static const char zsh_tail[] =
    "_agenthost_offer() { # PROGRAM KIND\n"
    "  case \"$2\" in\n"
    "    file) _files ;;\n"
    "    script) _files -g '*.lua' ;;\n"
    "    dir) _files -/ ;;\n"
    "    choice) compadd -a choices ;;\n"
    "    connection | run | session | setting) compadd -- ${(f)\"$($1 completion --words $2 2>/dev/null)\"} "
    ";;\n"
    "  esac\n"
    "}\n\n"
    "_agenthost() {\n"
    "  local at= kind= value= word\n"
    "  local -a choices subs options common\n"
    "  integer i\n"
    "  for ((i = 2; i < CURRENT; i++)); do\n"
    "    word=${words[i]}\n"
    "    if [[ -n $value ]]; then value=\n"
    "    elif [[ $word == -- ]]; then _files; return\n"
    "    elif [[ $word == --*=* ]]; then continue\n"
    "    elif [[ $word == -* ]]; then _agenthost_value \"$at\" $word && value=$kind\n"
    "    elif [[ $at == help ]]; then at=; _agenthost_step '' $word\n"
    "    else _agenthost_step \"$at\" $word\n"
    "    fi\n"
    "  done\n"
    "  word=${words[CURRENT]}\n"
    "  _agenthost_after \"$at\"\n"
    "  local after=$kind\n"
    "  if [[ -n $value ]]; then _agenthost_offer ${words[1]} $value; return; fi\n"
    "  if [[ $word == --*=* ]]; then\n"
    "    _agenthost_value \"$at\" ${word%%=*} || return 1\n"
    "    compset -P '*='\n"
    "    _agenthost_offer ${words[1]} $kind\n"
    "    return\n"
    "  fi\n"
    "  if [[ $word == -* ]]; then\n"
    "    _describe -o option options -- common\n"
    "    return\n"
    "  fi\n"
    "  if [[ $after == command ]]; then _agenthost_after ''; after=none; fi\n"
    "  (( $#subs )) && _describe command subs\n"
    "  [[ $after == none ]] || _agenthost_offer ${words[1]} $after\n"
    "}\n\n"
    "if [[ ${funcstack[1]} == _agenthost ]]; then _agenthost \"$@\"; else compdef _agenthost agenthost; fi\n";

static void write_zsh(struct writer *w)
{
    ah_buf_adds(w->out, zsh_head);
    write_with(w, put_value_cases);
    ah_buf_adds(w->out, zsh_step);
    write_with(w, put_step_cases);
    ah_buf_adds(w->out, zsh_data);
    write_with(w, put_zsh_case);
    ah_buf_adds(w->out, "  esac\n  common=(");
    put_zsh_options(w->out, w->root->options);
    ah_buf_adds(w->out, ")\n}\n\n");
    ah_buf_adds(w->out, zsh_tail);
}

/* --- fish ---------------------------------------------------------------------------------------- */

static void put_fish_value(struct ah_buf *out, enum ah_complete kind, const char *choices)
{
    switch (kind) {
    case AH_COMPLETE_FILE:
        ah_buf_adds(out, " -F");
        return;
    case AH_COMPLETE_SCRIPT:
        ah_buf_adds(out, " -f -a '(__fish_complete_suffix .lua)'");
        return;
    case AH_COMPLETE_DIR:
        ah_buf_adds(out, " -f -a '(__fish_complete_directories)'");
        return;
    case AH_COMPLETE_CHOICE:
        ah_buf_adds(out, " -f -a ");
        put_quoted(out, choices ? choices : "");
        return;
    case AH_COMPLETE_CONNECTION:
    case AH_COMPLETE_RUN:
    case AH_COMPLETE_SESSION:
    case AH_COMPLETE_SETTING:
        ah_buf_addf(out, " -f -a '(__agenthost_words %s)'", kind_name(kind));
        return;
    case AH_COMPLETE_NONE:
    case AH_COMPLETE_COMMAND:
        ah_buf_adds(out, " -f");
    }
}

static void put_fish_options(struct writer *w, const struct ah_command *c, const char *path)
{
    for (const struct ah_option *o = c->options; o && o->name; o++) {
        ah_buf_adds(w->out, "complete -c agenthost");
        if (path[0])
            ah_buf_addf(w->out, " -n '__agenthost_is \"%s\"'", path);
        ah_buf_addf(w->out, " -l %s", o->name + 2);
        if (o->letter)
            ah_buf_addf(w->out, " -s %c", o->letter);
        if (awaits_value(o)) {
            ah_buf_adds(w->out, " -r");
            put_fish_value(w->out, o->complete, NULL);
        }
        ah_buf_adds(w->out, " -d ");
        put_quoted(w->out, o->help);
        ah_buf_addc(w->out, '\n');
    }
}

static void put_fish_words(struct writer *w, const struct ah_command *c, const char *path)
{
    for (const struct ah_command *const *s = c->subs; s && *s; s++) {
        ah_buf_addf(w->out, "complete -c agenthost -n '__agenthost_is \"%s\"%s' -f -a %s -d ", path,
                    path[0] ? "" : " help", (*s)->name);
        put_quoted(w->out, (*s)->summary);
        ah_buf_addc(w->out, '\n');
    }
    if (c->complete != AH_COMPLETE_NONE && c->complete != AH_COMPLETE_COMMAND) {
        ah_buf_addf(w->out, "complete -c agenthost -n '__agenthost_is \"%s\"'", path);
        put_fish_value(w->out, c->complete, c->choices);
        ah_buf_addc(w->out, '\n');
    }
    put_fish_options(w, c, path);
}

static void put_fish_awaiting(struct writer *w, const struct ah_command *c, const char *path)
{
    (void)path;
    for (const struct ah_option *o = c->options; o && o->name; o++)
        if (awaits_value(o))
            ah_buf_addf(w->out, " %s", o->name);
}

static void put_fish_steps(struct writer *w, const struct ah_command *c, const char *path)
{
    (void)c;
    if (path[0])
        ah_buf_addf(w->out, " '%s'", path);
}

static const char fish_head[] = "# Completion of agenthost for fish, made by: agenthost completion fish\n\n"
                                "function __agenthost_words\n"
                                "    set -l line (commandline -opc)\n"
                                "    $line[1] completion --words $argv[1] 2>/dev/null\n"
                                "end\n\n"
                                "# Do the words before the cursor name one of these commands?\n"
                                "function __agenthost_is\n"
                                "    set -l at ''\n"
                                "    set -l awaits\n"
                                "    set -l line (commandline -opc)\n"
                                "    for word in $line[2..-1]\n"
                                "        if set -q awaits[1]\n"
                                "            set -e awaits[1]\n"
                                "        else if contains -- $word";
static const char fish_steps[] = "\n"
                                 "            set awaits yes\n"
                                 "        else if not string match -q -- '-*' $word\n"
                                 "            set -l below (string trim -- \"$at $word\")\n"
                                 "            if contains -- $below";
static const char fish_tail[] = "\n"
                                "                set at $below\n"
                                "            end\n"
                                "        end\n"
                                "    end\n"
                                "    contains -- \"$at\" $argv\n"
                                "end\n\n"
                                "complete -c agenthost -f\n"
                                "complete -c agenthost -l help -s h -d 'its words and options'\n";

static void write_fish(struct writer *w)
{
    ah_buf_adds(w->out, fish_head);
    write_with(w, put_fish_awaiting);
    ah_buf_adds(w->out, fish_steps);
    write_with(w, put_fish_steps);
    ah_buf_adds(w->out, fish_tail);
    write_with(w, put_fish_words);
}

int ah_completion_write(const struct ah_command *root, const char *shell, struct ah_buf *out,
                        struct ah_error *err)
{
    struct writer w = {.out = out, .root = root};
    if (strcmp(shell, "bash") == 0)
        write_bash(&w);
    else if (strcmp(shell, "zsh") == 0)
        write_zsh(&w);
    else if (strcmp(shell, "fish") == 0)
        write_fish(&w);
    else
        return ah_err_set(err, AH_CONFIG, "no completion for '%.40s': bash, zsh and fish have one", shell);
    return 0;
}
