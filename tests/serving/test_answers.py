import asyncio
import threading
from concurrent import futures

import pytest

from serving import answers


def test_every_waiter_gets_its_own_result():
    async def run():
        waiting = answers.Answers(asyncio.get_running_loop())
        made = [futures.Future() for _ in range(500)]
        tasks = [asyncio.create_task(waiting.wait(one)) for one in made]
        await asyncio.sleep(0)

        def end(part):
            for number in range(part, len(made), 4):
                made[number].set_result(number)

        threads = [threading.Thread(target=end, args=[k]) for k in range(4)]
        for thread in threads:
            thread.start()
        return await asyncio.gather(*tasks)

    assert asyncio.run(run()) == list(range(500))


def test_results_errors_and_cancelled_waits_in_one_go():
    async def run():
        waiting = answers.Answers(asyncio.get_running_loop())
        made = [futures.Future() for _ in range(3)]
        tasks = [asyncio.create_task(waiting.wait(one)) for one in made]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert made[0].cancelled()
        made[1].set_exception(ValueError("wrong"))
        made[2].set_result("right")
        with pytest.raises(ValueError, match="wrong"):
            await tasks[1]
        assert await tasks[2] == "right"
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    asyncio.run(run())


def test_a_result_that_is_there_already():
    async def run():
        waiting = answers.Answers(asyncio.get_running_loop())
        done = futures.Future()
        done.set_result(1)
        assert await waiting.wait(done) == 1
        assert await waiting.wait(done) == 1

    asyncio.run(run())
