/* Lists for people. Called by the commands that print lists. Writes to the FILE it is given, nothing else. */
#include "cmd_columns.h"

#include <stdbool.h>
#include <time.h>

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f;
}

void ah_cmd_columns_cell(FILE *out, const char *text, int columns)
{
    int n = 0;
    for (const char *p = text; *p && n < columns; n++) {
        size_t bytes = 1;
        while (((unsigned char)p[bytes] & 0xc0) == 0x80)
            bytes++;
        fwrite(is_control(*p) ? "?" : p, 1, bytes, out);
        p += bytes;
    }
    fprintf(out, "%*s  ", columns - n, "");
}

void ah_cmd_columns_time(int64_t us, char out[AH_COLUMNS_TIME_BYTES])
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    if (!localtime_r(&s, &tm) || strftime(out, AH_COLUMNS_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, AH_COLUMNS_TIME_BYTES, "-");
}

void ah_cmd_columns_text(FILE *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fputc(is_control(text[i]) && text[i] != '\n' && text[i] != '\t' ? '?' : text[i], out);
}
