/* Lists for people: cells of one width, and times. Called by the commands that print lists. */
#ifndef AH_CMD_COLUMNS_H
#define AH_CMD_COLUMNS_H

#include <stdint.h>
#include <stdio.h>

/* At most `columns` characters, so that rows stay in line, and two spaces. */
void ah_cmd_columns_cell(FILE *out, const char *text, int columns);
/* Wall microseconds as local time. */
#define AH_COLUMNS_TIME_BYTES 32
void ah_cmd_columns_time(int64_t us, char out[AH_COLUMNS_TIME_BYTES]);
/* Text of somebody else, as it is but for control characters, which could be meant for the terminal; line ends stay. */
void ah_cmd_columns_text(FILE *out, const char *text, size_t n);

#endif
