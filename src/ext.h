/* Calls of primitives that other programs add (include/agenthost/ext.h, which ext.c implements). For host.c. */
#ifndef AH_EXT_H
#define AH_EXT_H

#include "loop.h"

struct ah_ext_box; /* opaque: where other threads put what they finished. Outlives the host while they work */

struct ah_ext_box *ah_ext_open(struct ah_loop *loop); /* NULL: no memory */
/* Before the loop goes: what is finished later is thrown away. NULL is fine. */
void ah_ext_close(struct ah_ext_box *box);

#endif
