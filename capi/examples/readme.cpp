// The C++ examples of hnswlib's README, done with lodestore: build an index, search it, measure recall, keep it on disk
// and open it again, search with a filter, put from several threads, replace what was removed.
//
//   c++ -std=c++17 -pthread -I capi/include capi/examples/readme.cpp -L target/release -llodestore_capi -o readme
//   ./readme some-directory

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "lodestore.h"

static void check(LodestoreStatus status) {
    if (status != LODESTORE_STATUS_OK) {
        std::fprintf(stderr, "lodestore: %s\n", lodestore_error_text());
        std::exit(1);
    }
}

static void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "not so: %s\n", what);
        std::exit(1);
    }
}

// The share of records that are found by their own vector.
static double recall(uint64_t collection, const std::vector<float> &data, size_t rows, size_t dim) {
    size_t right = 0;
    for (size_t row = 0; row < rows; row++) {
        uint64_t key;
        float distance;
        size_t found;
        check(lodestore_search(collection, &data[row * dim], dim, 1, 64, nullptr, nullptr, &key, &distance, &found));
        right += found == 1 && key == row;
    }
    return static_cast<double>(right) / rows;
}

static bool divisible(uint64_t key, void *by) { return key % *static_cast<uint64_t *>(by) == 0; }

int main(int argc, char **argv) {
    const size_t dim = 16, rows = 5000;
    std::string path = std::string(argc > 1 ? argv[1] : ".") + "/readme.lodestore";

    std::mt19937 random(47);
    std::uniform_real_distribution<float> component;
    std::vector<float> data(rows * dim);
    for (float &x : data) x = component(random);

    // There is no capacity to give.
    uint64_t store, words;
    check(lodestore_open(path.c_str(), LODESTORE_DURABILITY_BUFFERED, &store));
    LodestoreSettings settings = {};
    settings.dim = dim;
    settings.metric = LODESTORE_METRIC_L2;
    settings.m = 16;
    settings.ef_construction = 200;
    check(lodestore_collection(store, "words", &settings, &words));

    // From several threads, half of the rows one by one.
    std::vector<std::thread> writers;
    for (size_t first = 0; first < 2; first++) {
        writers.emplace_back([&, first] {
            for (size_t row = first; row < rows / 2; row += 2) {
                check(lodestore_put(words, row, &data[row * dim], dim, nullptr, 0));
            }
        });
    }
    for (std::thread &writer : writers) writer.join();
    std::vector<uint64_t> keys;
    for (size_t row = rows / 2; row < rows; row++) keys.push_back(row);
    check(lodestore_put_many(words, keys.data(), &data[rows / 2 * dim], keys.size(), dim, nullptr));

    // What writers that write at once leave is linked by now.
    check(lodestore_checkpoint(store));
    double before = recall(words, data, rows, dim);
    std::printf("recall: %.4f\n", before);
    expect(before > 0.999, "records are found by their own vectors");

    // Nothing has to be saved; it is there when it is opened again.
    check(lodestore_close(store));
    uint64_t len;
    expect(lodestore_len(words, &len) == LODESTORE_STATUS_OK && len == rows, "a handle knows its length to the end");
    float one[dim] = {1};
    expect(lodestore_put(words, 1, one, dim, nullptr, 0) == LODESTORE_STATUS_CLOSED, "closed");
    check(lodestore_release(words));
    expect(lodestore_release(words) == LODESTORE_STATUS_BAD_HANDLE, "released once");
    check(lodestore_open(path.c_str(), LODESTORE_DURABILITY_SYNC, &store));
    check(lodestore_collection(store, "words", nullptr, &words));
    double after = recall(words, data, rows, dim);
    std::printf("recall of the store opened again: %.4f\n", after);
    expect(after == before, "the same graph");

    // Of the records that a function keeps.
    uint64_t by = 7, near[10];
    float distances[10];
    size_t found;
    check(lodestore_search(words, data.data(), dim, 10, 100, divisible, &by, near, distances, &found));
    expect(found == 10, "all there are");
    for (size_t at = 0; at < found; at++) expect(near[at] % by == 0, "only those that are kept");
    std::printf("nearest to 0 of those divisible by 7: %llu at %.4f\n", (unsigned long long)near[1], distances[1]);

    // All queries in one call, by all cores.
    std::vector<uint64_t> all(rows * 3);
    std::vector<float> how_far(rows * 3);
    std::vector<size_t> counts(rows);
    check(lodestore_search_many(words, data.data(), rows, dim, 3, 64, 0, all.data(), how_far.data(), counts.data()));
    for (size_t count : counts) expect(count == 3, "three each");

    // Removed records make room for others by themselves.
    bool removed;
    for (uint64_t key = 0; key < rows / 2; key++) {
        check(lodestore_remove(words, key, &removed));
        expect(removed, "it was there");
    }
    check(lodestore_put_many(words, keys.data(), data.data(), keys.size(), dim, nullptr));
    const char payload[] = "kept with the vector";
    check(lodestore_put(words, 1000000, data.data(), dim, (const uint8_t *)payload, sizeof payload));
    std::vector<float> vector(dim);
    char text[64];
    size_t text_len;
    check(lodestore_get(words, 1000000, vector.data(), dim, (uint8_t *)text, sizeof text, &text_len));
    expect(text_len == sizeof payload && std::string(text) == payload, "the payload");
    expect(std::vector<float>(data.begin(), data.begin() + dim) == vector, "the vector, bit for bit");
    expect(lodestore_get(words, 3, nullptr, 0, nullptr, 0, nullptr) == LODESTORE_STATUS_NOT_FOUND, "removed");

    uint64_t problems;
    check(lodestore_verify(store, &problems));
    check(lodestore_release(words));
    check(lodestore_close(store));
    std::puts("ok");
    return 0;
}
