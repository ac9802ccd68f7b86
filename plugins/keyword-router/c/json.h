/* A small reader of JSON, enough for a configuration. What it answers is kept as long as the instance lives. */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_LIST, JSON_OBJECT };

struct json {
	enum json_kind kind;
	char *name;         /* as a member of an object, else NULL */
	char *text;         /* of a text: UTF-8; of a number: as written */
	struct json *first; /* of a list or an object: its first item or member */
	struct json *next;  /* the next item or member beside this one */
};

/* Reads a document; NULL when it is no JSON. */
struct json *json_read(const char *document, size_t length);

/* A member of an object; NULL when there is none, or this is none. */
struct json *json_member(const struct json *object, const char *name);

#endif
