/* Keys that are text or bytes, payloads of many rows, batches, readers beside a writer, scrubs. */

#include <stdio.h>
#include <string.h>

#include "lodestore.h"

#define EXPECT(condition)                                                                              \
    do {                                                                                               \
        if (!(condition)) {                                                                            \
            printf("line %d: %s; %s\n", __LINE__, #condition, lodestore_error_text());                 \
            return 1;                                                                                  \
        }                                                                                              \
    } while (0)
#define OK(call) EXPECT((call) == LODESTORE_STATUS_OK)

enum { ROWS = 500, DIM = 4 };

static const uint8_t *bytes(const char *text) { return (const uint8_t *)text; }

/* Keeps names that end with 7. */
static bool ends_with_7(const uint8_t *key, size_t len, void *asked) {
    ++*(size_t *)asked;
    return len > 0 && key[len - 1] == '7';
}

static int is(LodestoreBytes key, const char *text) {
    return key.len == strlen(text) && memcmp(key.bytes, text, key.len) == 0;
}

int main(int argc, char **argv) {
    static float vectors[ROWS * DIM];
    static char names[ROWS][16], payloads[ROWS][16];
    static LodestoreBytes keys[ROWS], values[ROWS];
    uint64_t store, reader, words, blobs, numbers, other, batch, problems = 9, len, number = 3;
    LodestoreSettings settings;
    LodestoreBytes found_keys[10];
    uint8_t room[64], text[64];
    float distances[10], vector[DIM];
    size_t row, found = 0, needed = 0, asked = 0, dim = 0;
    bool flag = true;
    if (argc != 2) return 2;

    for (row = 0; row < ROWS; row++) {
        /* Along a curve, so that it is known who is near whom. */
        vectors[row * DIM] = (float)row;
        vectors[row * DIM + 1] = (float)(row * row) / ROWS;
        keys[row].len = (size_t)sprintf(names[row], "word %d", (int)row);
        values[row].len = (size_t)sprintf(payloads[row], "payload %d", (int)row);
        keys[row].bytes = bytes(names[row]);
        values[row].bytes = bytes(payloads[row]);
    }
    memset(&settings, 0, sizeof settings);
    settings.dim = DIM;
    settings.key = LODESTORE_KEY_TYPE_TEXT;
    OK(lodestore_open(argv[1], LODESTORE_DURABILITY_BUFFERED, &store));
    OK(lodestore_collection(store, "words", &settings, &words));
    OK(lodestore_dim(words, &dim));
    EXPECT(dim == DIM);
    OK(lodestore_put_many_named(words, keys, vectors, ROWS, DIM, values));
    OK(lodestore_len(words, &len));
    EXPECT(len == ROWS);

    OK(lodestore_search_named(words, &vectors[7 * DIM], DIM, 3, 100, NULL, NULL, found_keys, distances, &found, room,
                              sizeof room, &needed));
    EXPECT(found == 3 && needed == 18 && is(found_keys[0], "word 7") && distances[0] == 0);
    EXPECT(found_keys[0].bytes == room && (is(found_keys[1], "word 6") || is(found_keys[1], "word 8")));
    EXPECT(lodestore_search_named(words, vectors, DIM, 3, 0, NULL, NULL, found_keys, distances, &found, room, 4, &needed)
           == LODESTORE_STATUS_NO_ROOM);
    EXPECT(needed == 18 && strstr(lodestore_error_text(), "18 bytes"));
    OK(lodestore_search_named(words, &vectors[7 * DIM], DIM, 2, 100, ends_with_7, &asked, found_keys, distances, &found,
                              room, sizeof room, NULL));
    EXPECT(found == 2 && asked > 0 && is(found_keys[0], "word 7") && is(found_keys[1], "word 17"));
    {
        size_t counts[2];
        OK(lodestore_search_many_named(words, &vectors[40 * DIM], 2, DIM, 2, 100, 2, found_keys, distances, counts, room,
                                       sizeof room, &needed));
        EXPECT(counts[0] == 2 && counts[1] == 2 && needed == 28);
        EXPECT(is(found_keys[0], "word 40") && is(found_keys[2], "word 41"));
    }
    OK(lodestore_get_named(words, keys[9].bytes, keys[9].len, vector, DIM, text, sizeof text, &needed));
    EXPECT(needed == 9 && memcmp(text, "payload 9", 9) == 0 && vector[0] == 9);
    EXPECT(lodestore_get_named(words, bytes("none"), 4, NULL, 0, NULL, 0, NULL) == LODESTORE_STATUS_NOT_FOUND);
    EXPECT(strstr(lodestore_error_text(), "none"));

    /* What is no such name, and functions for keys of another type. */
    EXPECT(lodestore_put_named(words, bytes("\xff"), 1, vector, DIM, NULL, 0) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_put_named(words, NULL, 1, vector, DIM, NULL, 0) == LODESTORE_STATUS_BAD_ARGUMENT);
    keys[3].bytes = NULL;
    EXPECT(lodestore_put_many_named(words, keys, vectors, ROWS, DIM, NULL) == LODESTORE_STATUS_BAD_ARGUMENT);
    keys[3].bytes = bytes(names[3]);
    EXPECT(lodestore_put_named(words, bytes(""), 0, vector, DIM - 1, NULL, 0) == LODESTORE_STATUS_BAD_VECTOR);
    EXPECT(lodestore_put(words, 3, vector, DIM, NULL, 0) == LODESTORE_STATUS_BAD_HANDLE);
    EXPECT(strstr(lodestore_error_text(), "its keys are names"));
    settings.key = LODESTORE_KEY_TYPE_BYTES;
    EXPECT(lodestore_collection(store, "words", &settings, &other) == LODESTORE_STATUS_DIFFERS);
    settings.key = 77;
    EXPECT(lodestore_collection(store, "words", &settings, &other) == LODESTORE_STATUS_BAD_ARGUMENT);
    settings.key = 0;
    OK(lodestore_collection(store, "numbers", &settings, &numbers));
    OK(lodestore_put_many(numbers, &number, vector, 1, DIM, values));
    OK(lodestore_get(numbers, 3, NULL, 0, text, sizeof text, &needed));
    EXPECT(needed == 9 && memcmp(text, "payload 0", 9) == 0);
    EXPECT(lodestore_remove_named(numbers, bytes("x"), 1, NULL) == LODESTORE_STATUS_BAD_HANDLE);
    settings.key = LODESTORE_KEY_TYPE_BYTES;
    OK(lodestore_collection(store, "blobs", &settings, &blobs));
    OK(lodestore_put_named(blobs, bytes("\xff\0\xfe"), 3, vector, DIM, NULL, 0));
    OK(lodestore_remove_named(blobs, bytes("\xff"), 1, &flag));
    EXPECT(!flag);

    /* All or nothing, over collections of whatever keys. */
    OK(lodestore_batch(store, &batch));
    OK(lodestore_batch_put_named(batch, words, bytes("new"), 3, vector, DIM, bytes("n"), 1));
    OK(lodestore_batch_put(batch, numbers, 4, vector, DIM, NULL, 0));
    OK(lodestore_batch_remove(batch, numbers, 3));
    OK(lodestore_batch_remove_named(batch, blobs, bytes("\xff\0\xfe"), 3));
    EXPECT(lodestore_batch_put(batch, words, 4, vector, DIM, NULL, 0) == LODESTORE_STATUS_BAD_HANDLE);
    EXPECT(lodestore_get_named(words, bytes("new"), 3, NULL, 0, NULL, 0, NULL) == LODESTORE_STATUS_NOT_FOUND);
    OK(lodestore_batch_commit(batch));
    EXPECT(lodestore_batch_commit(batch) == LODESTORE_STATUS_BAD_HANDLE);
    OK(lodestore_get_named(words, bytes("new"), 3, NULL, 0, NULL, 0, NULL));
    EXPECT(lodestore_get(numbers, 3, NULL, 0, NULL, 0, NULL) == LODESTORE_STATUS_NOT_FOUND);
    OK(lodestore_len(blobs, &len));
    EXPECT(len == 0);
    OK(lodestore_batch(store, &batch));
    OK(lodestore_batch_remove(batch, numbers, 4));
    EXPECT(lodestore_close(batch) == LODESTORE_STATUS_BAD_HANDLE);
    OK(lodestore_batch_discard(batch));
    OK(lodestore_get(numbers, 4, NULL, 0, NULL, 0, NULL));

    /* A reader sees checkpoints, and goes on to later ones. */
    OK(lodestore_checkpoint(store));
    OK(lodestore_scrub(store, &problems));
    EXPECT(problems == 0);
    OK(lodestore_open_read_only(argv[1], &reader));
    OK(lodestore_collection(reader, "words", NULL, &other));
    OK(lodestore_len(other, &len));
    EXPECT(len == ROWS + 1);
    EXPECT(lodestore_put_named(other, bytes("x"), 1, vector, DIM, NULL, 0) == LODESTORE_STATUS_READ_ONLY);
    OK(lodestore_refresh(reader, &flag));
    EXPECT(!flag);
    OK(lodestore_remove_named(words, bytes("new"), 3, &flag));
    EXPECT(flag);
    OK(lodestore_checkpoint(store));
    OK(lodestore_refresh(reader, &flag));
    EXPECT(flag);
    OK(lodestore_len(other, &len));
    EXPECT(len == ROWS + 1);
    OK(lodestore_release(other));
    OK(lodestore_collection(reader, "words", NULL, &other));
    OK(lodestore_len(other, &len));
    EXPECT(len == ROWS);
    EXPECT(lodestore_refresh(12345, NULL) == LODESTORE_STATUS_BAD_HANDLE);
    OK(lodestore_release(other));
    OK(lodestore_close(reader));

    OK(lodestore_verify(store, &problems));
    OK(lodestore_release(words));
    OK(lodestore_release(blobs));
    OK(lodestore_release(numbers));
    OK(lodestore_close(store));
    puts("ok");
    return 0;
}
