/* Scalekit's calls as rows: the table itself. Pure data; what the columns mean is in skwire.h. */
#ifndef AH_SKROWS_H
#define AH_SKROWS_H

#include "skwire.h"

/* The table; a row with name NULL ends it. */
const struct ah_skwire_row *ah_skrows_all(void);

#endif
