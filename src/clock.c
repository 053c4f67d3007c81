/* The only file that reads the system's clocks. Called by loop, trace, services and bindings. */
#include "clock.h"

#include "fault.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t ah_clock_wall_us(struct ah_clock *c)
{
    int64_t now;
    if (c->fixed_us) {
        now = c->last_us ? c->last_us + c->step_us : c->fixed_us;
    } else {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        now = ah_fault_clock((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000);
    }
    if (now < c->last_us)
        now = c->last_us;
    c->last_us = now;
    return now;
}

int64_t ah_clock_mono_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void ah_clock_fix(struct ah_clock *c, int64_t start_us, int64_t step_us)
{
    *c = (struct ah_clock){.fixed_us = start_us, .step_us = step_us};
}

static size_t format_time(int64_t us, const char *fmt, char out[AH_CLOCK_ISO_BYTES])
{
    time_t s = (time_t)(us / 1000000);
    int frac = (int)(us % 1000000);
    if (frac < 0) {
        frac += 1000000;
        s--;
    }
    struct tm tm = {0};
    gmtime_r(&s, &tm);
    int n = snprintf(out, AH_CLOCK_ISO_BYTES, fmt, (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec, frac);
    return n < 0 ? 0 : (size_t)n;
}

size_t ah_clock_iso(int64_t us, char out[AH_CLOCK_ISO_BYTES])
{
    return format_time(us, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", out);
}

size_t ah_clock_dotted(int64_t us, char out[AH_CLOCK_ISO_BYTES])
{
    return format_time(us, "%04d%02d%02dT%02d%02d%02d%06dZ", out);
}

static int parse_digits(const char **s, const char *end, int count, int *out)
{
    if (end - *s < count)
        return -1;
    int v = 0;
    for (int i = 0; i < count; i++) {
        char c = (*s)[i];
        if (c < '0' || c > '9')
            return -1;
        v = v * 10 + (c - '0');
    }
    *s += count;
    *out = v;
    return 0;
}

static int parse_char(const char **s, const char *end, const char *allowed)
{
    if (*s >= end || !strchr(allowed, **s) || !**s)
        return -1;
    (*s)++;
    return 0;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

int ah_clock_parse_iso(const char *s, size_t n, int64_t *us)
{
    const char *end = s + n;
    int year, month, day, hour, min, sec;
    if (parse_digits(&s, end, 4, &year) || parse_char(&s, end, "-") || parse_digits(&s, end, 2, &month) ||
        parse_char(&s, end, "-") || parse_digits(&s, end, 2, &day) || parse_char(&s, end, "Tt ") ||
        parse_digits(&s, end, 2, &hour) || parse_char(&s, end, ":") || parse_digits(&s, end, 2, &min) ||
        parse_char(&s, end, ":") || parse_digits(&s, end, 2, &sec))
        return -1;
    if (month < 1 || month > 12 || day < 1 || day > days_of(year, month) || hour > 23 || min > 59 || sec > 60)
        return -1;
    int64_t frac = 0;
    if (s < end && *s == '.') {
        s++;
        int digits = 0;
        for (; s < end && *s >= '0' && *s <= '9'; s++, digits++)
            if (digits < 6)
                frac = frac * 10 + (*s - '0');
        if (digits == 0 || digits > 9)
            return -1;
        for (; digits < 6; digits++)
            frac *= 10;
    }
    int offset_min = 0;
    if (s < end && (*s == 'Z' || *s == 'z')) {
        s++;
    } else {
        if (s >= end || (*s != '+' && *s != '-'))
            return -1;
        int sign = *s++ == '-' ? -1 : 1, oh, om;
        if (parse_digits(&s, end, 2, &oh) || parse_char(&s, end, ":") || parse_digits(&s, end, 2, &om) ||
            oh > 23 || om > 59)
            return -1;
        offset_min = sign * (oh * 60 + om);
    }
    if (s != end)
        return -1;
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = min,
                    .tm_sec = sec};
    *us = ((int64_t)timegm(&tm) - (int64_t)offset_min * 60) * 1000000 + frac;
    return 0;
}
