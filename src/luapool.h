/* Memory of one lua_State. Lua asks for a great many small objects and says their size when it gives them
 * back: those come from free lists, larger ones from malloc. Called by host.c's allocator only; knows nothing
 * of limits. All-zero is an empty pool. */
#ifndef AH_LUAPOOL_H
#define AH_LUAPOOL_H

#include <stddef.h>

#define AH_LUAPOOL_CLASSES 16 /* of 16 bytes each: objects up to 256 */

struct ah_luapool {
    struct ah_luapool_cell *free[AH_LUAPOOL_CLASSES];
    struct ah_luapool_slab *slabs; /* given back all at once */
    char *at, *end;                /* what the newest slab still has */
};

/* p was got for `old` bytes (NULL: 0). The block for `wanted` bytes; NULL without memory, p stays then, or for 0. */
void *ah_luapool_resize(struct ah_luapool *pool, void *p, size_t old, size_t wanted);
void ah_luapool_drop(struct ah_luapool *pool); /* when all blocks are back */

#endif
