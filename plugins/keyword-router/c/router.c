/* Keyword router: sends messages to webhook endpoints by the words in them.
 *
 * Configuration: {"routes": [{"words": ["invoice", "credit note"], "endpoints": ["billing"]}], "otherwise": ["support"]}.
 * The first route of which a word occurs decides: the message goes to those endpoints only, and the label `route` names
 * them. Words are whole words, in any case, and may be phrases. Where no route fits, it goes to `otherwise`, or, when that
 * is not set, to all endpoints. It needs no grant.
 *
 * A template: copy this folder out of the tree, then ./build.sh. The files in bindings/ are what wit-bindgen 0.63 makes of
 * the contract in wit/; their functions give away what they return, and free what they are given. */
#include <stdlib.h>
#include <string.h>

#include "bindings/message_plugin.h"
#include "json.h"
#include "words.h"

typedef message_plugin_string_t string;
typedef message_plugin_list_string_t strings;
typedef exports_wagate_plugin_message_filter_verdict_t verdict;
typedef wagate_plugin_types_plugin_error_t plugin_error;

struct route {
	char **words; /* ends with NULL */
	const struct json *endpoints;
	struct route *next;
};

/* Read by init, which the gateway calls before any message. */
static struct route *routes;
static const struct json *otherwise;

static string string_of(const char *text) {
	size_t length = strlen(text);
	string copy = {malloc(length ? length : 1), length};
	if (!copy.ptr) abort();
	memcpy(copy.ptr, text, length);
	return copy;
}

/* Texts one after the other; the last is NULL. */
static char *joined(const char *const *parts) {
	size_t length = 1;
	for (const char *const *part = parts; *part; part++) length += strlen(*part);
	char *whole = calloc(length, 1), *end = whole;
	if (!whole) abort();
	for (const char *const *part = parts; *part; part++) end = stpcpy(end, *part);
	return whole;
}

/* `name[at]`. No printf here: it would bring files and clocks of WASI into the component. */
static char *item_name(const char *name, int at) {
	char digits[12], *digit = &digits[sizeof digits - 1];
	*digit = '\0';
	do *--digit = (char)('0' + at % 10);
	while (at /= 10);
	return joined((const char *[]){name, "[", digit, "]", NULL});
}

/* Says which member of the configuration is wrong and what it must be. */
static bool refuse(plugin_error *error, const char *where, const char *what) {
	error->tag = WAGATE_PLUGIN_TYPES_PLUGIN_ERROR_CONFIG;
	error->val.config = string_of(joined((const char *[]){where, ": ", what, NULL}));
	return false;
}

static bool is_list_of_texts(const struct json *list) {
	if (!list || list->kind != JSON_LIST) return false;
	for (const struct json *item = list->first; item; item = item->next)
		if (item->kind != JSON_TEXT) return false;
	return true;
}

static size_t count(const struct json *list) {
	size_t items = 0;
	for (const struct json *item = list->first; item; item = item->next) items++;
	return items;
}

/* Refuses what is no object, or has members but these two. */
static bool has_only(const struct json *object, const char *where, const char *one, const char *other, plugin_error *error) {
	if (!object || object->kind != JSON_OBJECT) return refuse(error, where, "must be an object");
	for (const struct json *member = object->first; member; member = member->next)
		if (strcmp(member->name, one) != 0 && strcmp(member->name, other) != 0)
			return refuse(error, where,
					joined((const char *[]){"has no member '", member->name, "', only ", one, " and ", other, NULL}));
	return true;
}

static bool read_route(const struct json *json, int at, struct route *route, plugin_error *error) {
	const char *where = item_name("routes", at);
	if (!has_only(json, where, "words", "endpoints", error)) return false;
	const char *words_name = joined((const char *[]){where, ".words", NULL});
	const struct json *words = json_member(json, "words");
	if (!is_list_of_texts(words)) return refuse(error, words_name, "must be a list of texts");
	route->endpoints = json_member(json, "endpoints");
	if (!is_list_of_texts(route->endpoints))
		return refuse(error, joined((const char *[]){where, ".endpoints", NULL}), "must be a list of texts");
	route->words = calloc(count(words) + 1, sizeof *route->words);
	if (!route->words) abort();
	int nth = 0;
	for (const struct json *word = words->first; word; word = word->next, nth++) {
		route->words[nth] = words_of(word->text, strlen(word->text));
		if (!route->words[nth]) abort();
		if (strcmp(route->words[nth], " ") == 0)
			return refuse(error, item_name(words_name, nth), "must have a letter or a digit");
	}
	return true;
}

/* The endpoints a text goes to; NULL when it is left to go to all. */
static const struct json *endpoints_for(string text) {
	char *said = words_of((const char *)text.ptr, text.len);
	if (!said) abort();
	const struct json *endpoints = otherwise;
	for (const struct route *route = routes; route && endpoints == otherwise; route = route->next)
		for (char **word = route->words; *word; word++)
			if (strstr(said, *word)) endpoints = route->endpoints;
	free(said);
	return endpoints;
}

/* What a message says in words; nothing for a picture without a caption. */
static string text_of(const wagate_plugin_types_content_t *content) {
	message_plugin_option_string_t said = {false, {NULL, 0}};
	if (content->tag == WAGATE_PLUGIN_TYPES_CONTENT_TEXT) return content->val.text.body;
	if (content->tag == WAGATE_PLUGIN_TYPES_CONTENT_MEDIA) said = content->val.media.caption;
	if (content->tag == WAGATE_PLUGIN_TYPES_CONTENT_OTHER) said = content->val.other.text;
	return said.is_some ? said.val : (string){NULL, 0};
}

/* To these endpoints, with the label `route` that names them: `billing,archive`. */
static verdict route_to(const struct json *endpoints) {
	size_t names = count(endpoints);
	const char **parts = calloc(2 * names + 1, sizeof *parts);
	strings list = {calloc(names + 1, sizeof(string)), names};
	wagate_plugin_types_pair_t *label = malloc(sizeof *label);
	if (!parts || !list.ptr || !label) abort();
	size_t at = 0;
	for (const struct json *name = endpoints->first; name; name = name->next, at++) {
		if (at > 0) parts[2 * at - 1] = ",";
		parts[2 * at] = name->text;
		list.ptr[at] = string_of(name->text);
	}
	char *value = joined(parts);
	*label = (wagate_plugin_types_pair_t){string_of("route"), string_of(value)};
	free(value);
	free(parts);
	verdict verdict = {.tag = EXPORTS_WAGATE_PLUGIN_MESSAGE_FILTER_VERDICT_MODIFY};
	verdict.val.modify.set_labels = (wagate_plugin_types_list_pair_t){label, 1};
	verdict.val.modify.route_to = (message_plugin_option_list_string_t){true, list};
	return verdict;
}

void exports_wagate_plugin_lifecycle_describe(exports_wagate_plugin_lifecycle_plugin_info_t *info) {
	info->name = string_of("keyword-router");
	info->version = string_of("1.0.0");
	info->description = string_of("Routes messages to endpoints by the words in them");
	info->wants = (strings){NULL, 0};
}

bool exports_wagate_plugin_lifecycle_init(plugin_error *error) {
	string document;
	wagate_plugin_config_get_json(&document);
	struct json *settings = json_read((const char *)document.ptr, document.len);
	message_plugin_string_free(&document);
	if (!has_only(settings, "configuration", "routes", "otherwise", error)) return false;
	const struct json *list = json_member(settings, "routes");
	if (!list || list->kind != JSON_LIST) return refuse(error, "routes", "must be a list of routes");
	struct route **next = &routes;
	int at = 0;
	for (const struct json *item = list->first; item; item = item->next, next = &(*next)->next) {
		*next = calloc(1, sizeof **next);
		if (!*next) abort();
		if (!read_route(item, at++, *next, error)) return false;
	}
	otherwise = json_member(settings, "otherwise");
	if (otherwise && otherwise->kind == JSON_NULL) otherwise = NULL;
	if (otherwise && !is_list_of_texts(otherwise)) return refuse(error, "otherwise", "must be a list of texts");
	return true;
}

bool exports_wagate_plugin_message_filter_on_message(wagate_plugin_types_call_context_t *context,
		wagate_plugin_types_message_t *message, verdict *verdict, plugin_error *error) {
	(void)error;
	bool is_incoming = message->direction == WAGATE_PLUGIN_TYPES_DIRECTION_INCOMING;
	const struct json *endpoints = is_incoming ? endpoints_for(text_of(&message->content)) : NULL;
	if (endpoints) *verdict = route_to(endpoints);
	else verdict->tag = EXPORTS_WAGATE_PLUGIN_MESSAGE_FILTER_VERDICT_PASS;
	wagate_plugin_types_message_free(message);
	wagate_plugin_types_call_context_free(context);
	return true;
}
