/* What callers may do wrong, and that they are told. */

#include <math.h>
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

int main(void) {
    uint64_t store = 0, other = 0, docs = 0, keys[4];
    float near[4], vector[3] = {1, 2, 3};
    size_t found = 9;
    LodestoreSettings settings;
    memset(&settings, 0, sizeof settings);

    EXPECT(strlen(lodestore_version()) > 0 && strlen(lodestore_error_text()) == 0);
    EXPECT(lodestore_open(NULL, 0, &store) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(strstr(lodestore_error_text(), "path is NULL"));
    EXPECT(lodestore_open("\xff\xfe", 0, &store) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_open("/proc/nowhere/store", 0, &store) == LODESTORE_STATUS_IO);
    EXPECT(lodestore_open("x", 77, &store) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_open_in_memory(NULL) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_open_in_memory(&store) == LODESTORE_STATUS_OK);
    EXPECT(lodestore_open_in_memory(&other) == LODESTORE_STATUS_OK && other != store);

    EXPECT(lodestore_collection(store, "docs", NULL, &docs) == LODESTORE_STATUS_NOT_FOUND);
    EXPECT(lodestore_collection(store, "docs", &settings, &docs) == LODESTORE_STATUS_BAD_ARGUMENT);
    settings.dim = 3;
    settings.metric = 99;
    EXPECT(lodestore_collection(store, "docs", &settings, &docs) == LODESTORE_STATUS_BAD_ARGUMENT);
    settings.metric = LODESTORE_METRIC_COSINE;
    EXPECT(lodestore_collection(12345, "docs", &settings, &docs) == LODESTORE_STATUS_BAD_HANDLE);
    EXPECT(lodestore_collection(store, "docs", &settings, &docs) == LODESTORE_STATUS_OK);
    settings.dim = 4;
    EXPECT(lodestore_collection(store, "docs", &settings, keys) == LODESTORE_STATUS_DIFFERS);
    EXPECT(strstr(lodestore_error_text(), "dim"));
    EXPECT(lodestore_close(docs) == LODESTORE_STATUS_BAD_HANDLE);
    EXPECT(lodestore_release(store) == LODESTORE_STATUS_BAD_HANDLE);

    EXPECT(lodestore_put(docs, 1, vector, 4, NULL, 0) == LODESTORE_STATUS_BAD_VECTOR);
    EXPECT(lodestore_put(docs, 1, NULL, 3, NULL, 0) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_put(docs, 1, vector, 3, NULL, 5) == LODESTORE_STATUS_BAD_ARGUMENT);
    vector[1] = NAN;
    EXPECT(lodestore_put(docs, 1, vector, 3, NULL, 0) == LODESTORE_STATUS_BAD_VECTOR);
    memset(vector, 0, sizeof vector);
    EXPECT(lodestore_put(docs, 1, vector, 3, NULL, 0) == LODESTORE_STATUS_BAD_VECTOR);
    vector[2] = 1;
    EXPECT(lodestore_put_many(docs, keys, vector, (size_t)-1, 3, NULL) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_put(docs, 7, vector, 3, (const uint8_t *)"seven", 5) == LODESTORE_STATUS_OK);
    EXPECT(lodestore_search(docs, vector, 3, (size_t)-1, 0, NULL, NULL, keys, near, &found)
           == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(lodestore_search(docs, vector, 3, 4, 0, NULL, NULL, keys, NULL, &found) == LODESTORE_STATUS_BAD_ARGUMENT);
    EXPECT(found == 9);
    EXPECT(lodestore_search(docs, vector, 3, 4, 0, NULL, NULL, keys, near, &found) == LODESTORE_STATUS_OK);
    EXPECT(found == 1 && keys[0] == 7 && fabsf(near[0]) < 1e-6f);
    EXPECT(lodestore_search(docs, vector, 3, 0, 0, NULL, NULL, NULL, NULL, &found) == LODESTORE_STATUS_OK && found == 0);

    {
        uint8_t room[2];
        size_t len = 0;
        EXPECT(lodestore_get(docs, 7, NULL, 0, room, 2, &len) == LODESTORE_STATUS_OK);
        EXPECT(len == 5 && memcmp(room, "se", 2) == 0);
    }
    EXPECT(lodestore_remove(docs, 8, NULL) == LODESTORE_STATUS_OK);
    EXPECT(lodestore_close(store) == LODESTORE_STATUS_OK);
    EXPECT(lodestore_close(store) == LODESTORE_STATUS_BAD_HANDLE);
    EXPECT(lodestore_search(docs, vector, 3, 1, 0, NULL, NULL, keys, near, &found) == LODESTORE_STATUS_CLOSED);
    EXPECT(lodestore_release(docs) == LODESTORE_STATUS_OK && lodestore_close(other) == LODESTORE_STATUS_OK);
    puts("ok");
    return 0;
}
