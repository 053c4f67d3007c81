/* The content of a message in parts, checked for its shape. Called by chat_request.c. Pure; changes nothing:
 * what passes is sent byte for byte. See chat_parts.h. */
#include "chat_parts.h"

#include <string.h>

/* Each type has a member of its name; what that must hold. */
static const struct {
    const char *type;
    const char *needs[3]; /* texts inside the member; none: the member is the text */
    bool one_of;          /* of `needs` one is enough */
    const char *form;     /* as a script writes it */
} kinds[] = {
    {"text", {NULL}, false, "{ type = \"text\", text = \"...\" }"},
    {"refusal", {NULL}, false, "{ type = \"refusal\", refusal = \"...\" }"},
    {"image_url",
     {"url"},
     false,
     "{ type = \"image_url\", image_url = { url = \"https://... or data:...\" } }"},
    {"input_audio",
     {"data", "format"},
     false,
     "{ type = \"input_audio\", input_audio = { data = BASE64, format = \"wav\" or \"mp3\" } }"},
    {"file",
     {"file_id", "file_data"},
     true,
     "{ type = \"file\", file = { filename = \"...\", file_data = \"data:...\" } }, or { file_id = \"...\" "
     "}"},
};

static bool fits(struct ah_json part, size_t kind)
{
    struct ah_json v = ah_json_get(part, kinds[kind].type);
    size_t there = 0, wanted = 0;
    if (!kinds[kind].needs[0])
        return v.type == AH_JSON_STRING;
    for (; kinds[kind].needs[wanted]; wanted++)
        there += ah_json_get(v, kinds[kind].needs[wanted]).type == AH_JSON_STRING;
    return kinds[kind].one_of ? there > 0 : there == wanted;
}

int ah_chat_parts_check(struct ah_json parts, size_t at, struct ah_error *err)
{
    size_t i = 0;
    for (struct ah_json_iter it = ah_json_iter(parts); ah_json_next(&it);) {
        struct ah_json type = ah_json_get(it.value, "type");
        i++;
        if (type.type != AH_JSON_STRING)
            return ah_err_set(err, AH_INVALID,
                              "part %zu of message %zu must be a table with a type, such as %s", i, at,
                              kinds[0].form);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (ah_json_is(type, kinds[k].type) && !fits(it.value, k))
                return ah_err_set(err, AH_INVALID, "part %zu of message %zu must be %s", i, at,
                                  kinds[k].form);
    }
    return 0;
}
