/* Free lists by size for Lua's small objects. Called from the allocator of one lua_State, on its thread. A block
 * that came back is never given to the system before the end, only to the next object of its size. */
#include "luapool.h"

#include <stdlib.h>
#include <string.h>

#define GRAIN ((size_t)16) /* what malloc aligns to */
#define SLAB_BYTES ((size_t)32 << 10)
#ifdef __SANITIZE_ADDRESS__
#define SMALL_BYTES ((size_t)0) /* every object is malloc's: the sanitizer sees its end */
#else
#define SMALL_BYTES (GRAIN * AH_LUAPOOL_CLASSES)
#endif

struct ah_luapool_cell {
    struct ah_luapool_cell *next;
};

struct ah_luapool_slab {
    struct ah_luapool_slab *next;
    max_align_t cells[];
};

static size_t class_of(size_t n)
{
    return (n - 1) / GRAIN;
}

static void *take_cell(struct ah_luapool *pool, size_t class)
{
    struct ah_luapool_cell *cell = pool->free[class];
    size_t n = (class + 1) * GRAIN;
    if (cell) {
        pool->free[class] = cell->next;
        return cell;
    }
    if ((size_t)(pool->end - pool->at) < n) { /* the rest of the old slab is given up */
        struct ah_luapool_slab *slab = malloc(sizeof *slab + SLAB_BYTES);
        if (!slab)
            return NULL;
        slab->next = pool->slabs;
        pool->slabs = slab;
        pool->at = (char *)slab->cells;
        pool->end = pool->at + SLAB_BYTES;
    }
    void *p = pool->at;
    pool->at += n;
    return p;
}

static void *take(struct ah_luapool *pool, size_t n)
{
    return n <= SMALL_BYTES ? take_cell(pool, class_of(n)) : malloc(n);
}

static void give_back(struct ah_luapool *pool, void *p, size_t n)
{
    if (n > SMALL_BYTES) {
        free(p);
        return;
    }
    struct ah_luapool_cell *cell = p;
    cell->next = pool->free[class_of(n)];
    pool->free[class_of(n)] = cell;
}

void *ah_luapool_resize(struct ah_luapool *pool, void *p, size_t old, size_t wanted)
{
    if (!p || old == 0)
        return wanted ? take(pool, wanted) : NULL;
    if (wanted == 0) {
        give_back(pool, p, old);
        return NULL;
    }
    if (old > SMALL_BYTES && wanted > SMALL_BYTES)
        return realloc(p, wanted);
    if (old <= SMALL_BYTES && wanted <= SMALL_BYTES && class_of(old) == class_of(wanted))
        return p;
    void *moved = take(pool, wanted);
    if (!moved)
        return wanted < old ? p : NULL; /* Lua relies on it that nothing fails to shrink */
    memcpy(moved, p, old < wanted ? old : wanted);
    give_back(pool, p, old);
    return moved;
}

void ah_luapool_drop(struct ah_luapool *pool)
{
    for (struct ah_luapool_slab *next, *slab = pool->slabs; slab; slab = next) {
        next = slab->next;
        free(slab);
    }
    *pool = (struct ah_luapool){0};
}
