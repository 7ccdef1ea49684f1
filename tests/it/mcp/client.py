"""Speaks to `pinfold mcp` with the official client: the path of the program is the first argument."""

import os
import sys

import anyio
from mcp import Client, StdioServerParameters


PROCESSES = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"


async def main(mode: str) -> None:
    parameters = StdioServerParameters(
        command=sys.argv[1], args=["mcp", "--time", "30s", "--allow", "bash"], env=dict(os.environ)
    )
    async with Client(parameters, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert len(tools) == 24 and tools["file_read"].annotations.read_only_hint, tools

        # The client itself checks what comes back against the schema.
        result = await client.call_tool("run_code", {"language": "bash", "code": "echo $((6 * 7))"})
        assert not result.is_error and result.structured_content["stdout"] == "42\n", result
        result = await client.call_tool("run_command", {"command": "exit 4"})
        assert not result.is_error and result.structured_content["exit_code"] == 4, result
        result = await client.call_tool("sandbox_exec", {"sandbox": "nobody", "command": "true"})
        assert result.is_error and "there is no sandbox" in result.content[0].text, result

        await client.call_tool("sandbox_start", {"name": "py"})
        await client.call_tool("file_write", {"sandbox": "py", "path": "a", "content": "text\n"})
        result = await client.call_tool("sandbox_exec", {"sandbox": "py", "command": "cat a"})
        assert result.structured_content["stdout"] == "text\n", result
        result = await client.call_tool("terminal_run", {"sandbox": "py", "command": "cd /tmp && pwd"})
        assert "/tmp" in result.structured_content["stdout"], result
        result = await client.call_tool("file_list", {"sandbox": "py"})
        assert [entry["path"] for entry in result.structured_content["entries"]] == ["a"], result
        for tool in ["sandbox_list", "workspace_list"]:
            assert not (await client.call_tool(tool, {})).is_error, tool

        steps = []

        async def step(progress, total, message):
            steps.append((progress, total, message))

        await client.call_tool("run_command", {"command": "sleep 2"}, progress_callback=step)
        assert steps and steps[0][1] == 30, steps

        # Whoever gives up waiting can go on.
        with anyio.move_on_after(0.5):
            await client.call_tool("sandbox_exec", {"sandbox": "py", "command": "sleep 98765; true"})
        with anyio.fail_after(30):
            while True:
                result = await client.call_tool("sandbox_exec", {"sandbox": "py", "command": PROCESSES})
                if "98765" not in result.content[0].text:
                    break
    print(mode, "ok", flush=True)


for mode in ["legacy", "auto"]:
    anyio.run(main, mode)
