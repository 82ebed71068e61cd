// The C interface of beam_jobs/counting/native_table.py.

#include <cstdint>
#include <new>

#include "id_keys.h"
#include "id_table.h"

namespace {

using counting::AnyTable;
using counting::Column;
using counting::IdTable;
using counting::IntegerKey;
using counting::Rows;
using counting::StringKey;

template <typename Key>
AnyTable* Make(int counter, int num_labels, bool has_days) {
  switch (counter) {
    case 0:
      return new IdTable<Key, uint32_t>(num_labels, has_days);
    case 1:
      return new IdTable<Key, int64_t>(num_labels, has_days);
    case 2:
      return new IdTable<Key, double>(num_labels, has_days);
  }
  return nullptr;
}

// 0, or 1 without memory.
template <typename Work>
int Try(const Work& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace

extern "C" {

int tfplugin_counting_interface() { return 1; }

// Counters: 0 uint32, 1 int64, 2 double.
AnyTable* tfplugin_table_new(int strings, int counter, int num_labels,
                             int has_days) {
  try {
    return strings ? Make<StringKey>(counter, num_labels, has_days)
                   : Make<IntegerKey>(counter, num_labels, has_days);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void tfplugin_table_delete(AnyTable* table) { delete table; }

int64_t tfplugin_table_size(const AnyTable* table) { return table->size(); }

int64_t tfplugin_table_bytes(const AnyTable* table) { return table->bytes(); }

int tfplugin_table_add_rows(AnyTable* table, const Column* column,
                            const Rows* rows) {
  return Try([&] { table->AddRows(*column, *rows); });
}

int tfplugin_table_add_counts(AnyTable* table, const Column* column,
                              const void* const* counters, const int32_t* first,
                              const int32_t* last) {
  return Try([&] { table->AddCounts(*column, counters, first, last); });
}

int tfplugin_table_sort_by_place(AnyTable* table, int64_t num_files,
                                 int64_t* borders) {
  return Try([&] { table->SortByPlace(num_files, borders); });
}

int tfplugin_table_sort_by_count(AnyTable* table) {
  return Try([&] { table->SortByCount(); });
}

int64_t tfplugin_table_string_bytes(const AnyTable* table, int64_t begin,
                                    int64_t end) {
  return table->StringBytes(begin, end);
}

void tfplugin_table_read(const AnyTable* table, int64_t begin, int64_t end,
                         int64_t* integers, int32_t* string_offsets,
                         char* string_bytes, void* const* counters,
                         int32_t* first, int32_t* last) {
  table->Read(begin, end, integers, string_offsets, string_bytes, counters,
              first, last);
}

void tfplugin_file_hashes(const Column* column, uint64_t* hashes) {
  for (int64_t i = 0; i < column->rows; ++i) {
    hashes[i] = column->integers != nullptr
                    ? IntegerKey::At(*column, i).Place()
                    : StringKey::At(*column, i).Place();
  }
}

}  // extern "C"
