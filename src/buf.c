/* Growing bytes with a maximum. Called by every layer; never calls anything but the allocator. */
#include "buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 256

void ah_buf_init(struct ah_buf *b, size_t max)
{
    *b = (struct ah_buf){.max = max};
}

void ah_buf_drop(struct ah_buf *b)
{
    free(b->p);
    *b = (struct ah_buf){0};
}

void ah_buf_clear(struct ah_buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = '\0';
}

char *ah_buf_reserve(struct ah_buf *b, size_t n)
{
    if (b->failed || b->n > b->max || n > b->max - b->n) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->n + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : FIRST_CAP;
        while (cap < need) {
            if (cap > SIZE_MAX / 2) {
                b->failed = true;
                return NULL;
            }
            cap *= 2;
        }
        char *grown = realloc(b->p, cap);
        if (!grown) {
            b->failed = true;
            return NULL;
        }
        b->p = grown;
        b->cap = cap;
    }
    return b->p + b->n;
}

int ah_buf_add(struct ah_buf *b, const void *p, size_t n)
{
    char *to = ah_buf_reserve(b, n);
    if (!to)
        return -1;
    if (n)
        memcpy(to, p, n);
    b->n += n;
    b->p[b->n] = '\0';
    return 0;
}

int ah_buf_addc(struct ah_buf *b, char c)
{
    return ah_buf_add(b, &c, 1);
}

int ah_buf_adds(struct ah_buf *b, const char *s)
{
    return ah_buf_add(b, s, strlen(s));
}

int ah_buf_addf(struct ah_buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = ah_buf_vaddf(b, fmt, args);
    va_end(args);
    return rc;
}

int ah_buf_vaddf(struct ah_buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = b->p && !b->failed ? b->cap - b->n : 0; /* where it fits, it is written once */
    int n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, again);
    va_end(again);
    char *to = n < 0 ? NULL : ah_buf_reserve(b, (size_t)n);
    if (!to) {
        if (room)
            b->p[b->n] = '\0';
        b->failed = true;
        return -1;
    }
    if ((size_t)n >= room)
        vsnprintf(to, (size_t)n + 1, fmt, args);
    b->n += (size_t)n;
    return 0;
}

void ah_buf_consume(struct ah_buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
    } else if (n) {
        memmove(b->p, b->p + n, b->n - n);
        b->n -= n;
    }
    if (b->p)
        b->p[b->n] = '\0';
}

char *ah_buf_take(struct ah_buf *b, size_t *n)
{
    size_t max = b->max;
    if (b->failed || (!b->p && !ah_buf_reserve(b, 0))) {
        ah_buf_drop(b);
        b->max = max;
        if (n)
            *n = 0;
        return NULL;
    }
    b->p[b->n] = '\0';
    char *p = b->p;
    if (n)
        *n = b->n;
    *b = (struct ah_buf){.max = max};
    return p;
}

const char *ah_buf_str(const struct ah_buf *b)
{
    return b->p ? b->p : "";
}
