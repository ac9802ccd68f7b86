#include "words.h"

#include "utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <wctype.h>

/* The character at `*at`, and past it. The contract promises sound UTF-8. */
static uint32_t get(const unsigned char **at, const unsigned char *end) {
	uint32_t code = *(*at)++;
	int more = code >= 0xf0 ? 3 : code >= 0xe0 ? 2 : code >= 0xc0 ? 1 : 0;
	if (more) code &= 0x3f >> more;
	for (; more && *at < end; more--) code = code << 6 | (*(*at)++ & 0x3f);
	return code;
}

char *words_of(const char *text, size_t length) {
	/* A lower-case letter is at most one byte longer than its capital, which has two bytes or more. */
	char *words = malloc(2 * length + 3), *to = words;
	if (!words) return NULL;
	*to++ = ' ';
	const unsigned char *at = (const unsigned char *)text, *end = at + length;
	while (at < end) {
		uint32_t code = get(&at, end);
		if (iswalnum(code)) to = utf8_put(to, towlower(code));
		else if (to[-1] != ' ') *to++ = ' ';
	}
	if (to[-1] != ' ') *to++ = ' ';
	*to = '\0';
	return words;
}
