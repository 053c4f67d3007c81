/* Lines for people, on stderr, masked. Called by layers 2 and up; never fails loudly. */
#include "log.h"

#include "buf.h"
#include "secret.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_MAX_BYTES ((size_t)64 << 10)

void ah_log_plain(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            text[i] = '?';
        else if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* the second set of controls, in UTF-8 */
            text[i] = text[i + 1] = '?';
    }
}

static void print_line(const struct ah_log *log, enum ah_log_level level, const struct ah_buf *text)
{
    static const char *const colors[] = {"\033[31m", "\033[33m", "", "\033[2m"};
    static const char *const labels[] = {"error: ", "warning: ", "", ""};
    const char *color = log->color ? colors[level] : "";
    struct ah_buf line; /* one write: lines of several processes do not mix */
    ah_buf_init(&line, 2 * LINE_MAX_BYTES + 64);
    ah_buf_addf(&line, "%sagenthost: %s", color, labels[level]);
    ah_buf_add(&line, text->p, text->n);
    ah_buf_addf(&line, "%s\n", color[0] ? "\033[0m" : "");
    if (line.n > 0)
        fwrite(line.p, 1, line.n, stderr);
    ah_buf_drop(&line);
}

static void write_line(struct ah_log *log, enum ah_log_level level, const char *fmt, va_list args)
{
    struct ah_buf raw, text;
    ah_buf_init(&raw, LINE_MAX_BYTES);
    ah_buf_init(&text, 2 * LINE_MAX_BYTES);
    ah_buf_vaddf(&raw, fmt, args);
    ah_secret_mask(log->secrets, ah_buf_str(&raw), raw.n, &text);
    if (text.p)
        ah_log_plain(text.p, text.n);
    if (!log->sink)
        print_line(log, level, &text);
    else
        log->sink(log->arg, level, ah_buf_str(&text), text.n);
    ah_buf_drop(&raw);
    ah_buf_drop(&text);
}

void ah_log_line(struct ah_log *log, enum ah_log_level level, const char *fmt, ...)
{
    if (level > log->level)
        return;
    va_list args;
    va_start(args, fmt);
    write_line(log, level, fmt, args);
    va_end(args);
}

void ah_log_once(struct ah_log *log, unsigned what, enum ah_log_level level, const char *fmt, ...)
{
    unsigned char *byte = &log->once[(what / 8) % sizeof log->once];
    unsigned char bit = (unsigned char)(1u << (what % 8));
    if (level > log->level || (*byte & bit))
        return;
    *byte |= bit;
    va_list args;
    va_start(args, fmt);
    write_line(log, level, fmt, args);
    va_end(args);
}
