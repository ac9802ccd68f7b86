#include "json.h"

#include "utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Deeper than any configuration, and far from the end of the stack. */
#define DEPTH 64

struct reader {
	const char *at;
	const char *end;
	int depth;
};

static struct json *value(struct reader *reader);

static void blanks(struct reader *reader) {
	while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at) reader->at++;
}

static bool take(struct reader *reader, const char *word) {
	size_t length = strlen(word);
	if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0) return false;
	reader->at += length;
	return true;
}

static struct json *node(enum json_kind kind) {
	struct json *node = calloc(1, sizeof *node);
	if (node) node->kind = kind;
	return node;
}

/* Four hexadecimal digits; -1 when they are none. */
static int32_t unit(struct reader *reader) {
	int32_t code = 0;
	for (int digits = 0; digits < 4; digits++) {
		if (reader->at == reader->end) return -1;
		const char *hex = "0123456789abcdef", *digit = strchr(hex, *reader->at | (*reader->at >= 'A' ? 0x20 : 0));
		if (!digit || !*digit) return -1;
		code = code * 16 + (int32_t)(digit - hex);
		reader->at++;
	}
	return code;
}

/* What stands behind a backslash; NULL when that is nothing JSON knows. */
static char *escape(struct reader *reader, char *to) {
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	if (reader->at == reader->end) return NULL;
	char letter = *reader->at++;
	if (letter != 'u') {
		const char *found = letter ? strchr(letters, letter) : NULL;
		if (found) *to = meanings[found - letters];
		return found ? to + 1 : NULL;
	}
	int32_t code = unit(reader);
	if (code < 0) return NULL;
	if (code < 0xd800 || code > 0xdfff) return utf8_put(to, (uint32_t)code);
	if (code > 0xdbff || !take(reader, "\\u")) return utf8_put(to, 0xfffd);
	int32_t low = unit(reader);
	bool is_pair = low >= 0xdc00 && low <= 0xdfff;
	return low < 0 ? NULL : utf8_put(to, is_pair ? 0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00) : 0xfffd);
}

static char *text(struct reader *reader) {
	if (!take(reader, "\"")) return NULL;
	char *text = malloc((size_t)(reader->end - reader->at) + 1), *to = text;
	while (to && reader->at < reader->end) {
		char byte = *reader->at++;
		if (byte == '"') {
			*to = '\0';
			return text;
		}
		if (byte == '\\') to = escape(reader, to);
		else *to++ = byte;
	}
	free(text);
	return NULL;
}

/* Items up to the closing bracket, with names before them in an object. */
static struct json *items(struct reader *reader, enum json_kind kind, const char *close) {
	struct json *whole = node(kind);
	if (!whole || ++reader->depth > DEPTH) return NULL;
	struct json **next = &whole->first;
	for (blanks(reader); !take(reader, close); blanks(reader)) {
		if (next != &whole->first && !take(reader, ",")) return NULL;
		char *name = NULL;
		if (kind == JSON_OBJECT) {
			blanks(reader);
			name = text(reader);
			blanks(reader);
			if (!name || !take(reader, ":")) return NULL;
		}
		struct json *item = value(reader);
		if (!item) return NULL;
		item->name = name;
		*next = item;
		next = &item->next;
	}
	reader->depth--;
	return whole;
}

static struct json *number(struct reader *reader) {
	const char *start = reader->at;
	while (reader->at < reader->end && *reader->at && strchr("+-.0123456789Ee", *reader->at)) reader->at++;
	struct json *number = reader->at > start ? node(JSON_NUMBER) : NULL;
	if (number) number->text = strndup(start, (size_t)(reader->at - start));
	return number;
}

static struct json *value(struct reader *reader) {
	blanks(reader);
	if (reader->at == reader->end) return NULL;
	if (*reader->at == '"') {
		struct json *value = node(JSON_TEXT);
		if (value) value->text = text(reader);
		return value && value->text ? value : NULL;
	}
	if (take(reader, "{")) return items(reader, JSON_OBJECT, "}");
	if (take(reader, "[")) return items(reader, JSON_LIST, "]");
	if (take(reader, "null")) return node(JSON_NULL);
	if (take(reader, "true")) return node(JSON_TRUE);
	if (take(reader, "false")) return node(JSON_FALSE);
	return number(reader);
}

struct json *json_read(const char *document, size_t length) {
	struct reader reader = {.at = document, .end = document + length};
	struct json *whole = value(&reader);
	blanks(&reader);
	return reader.at == reader.end ? whole : NULL;
}

struct json *json_member(const struct json *object, const char *name) {
	if (!object || object->kind != JSON_OBJECT) return NULL;
	for (struct json *member = object->first; member; member = member->next)
		if (strcmp(member->name, name) == 0) return member;
	return NULL;
}
