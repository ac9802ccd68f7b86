/* Words in a text, whole and in any case, in any script. */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

/* The words of a UTF-8 text in lower case, each with a blank before and after it: " credit note ". A phrase occurs in a
 * text when its words do, blanks included. The caller frees it; NULL when there is no memory. */
char *words_of(const char *text, size_t length);

#endif
